"""A name that exists holds a whole result: crashes, cuts, races and full disks included."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from helpers.common import store

FRAME = pd.DataFrame({"language": ["A1", "B2"], "unit": [0, 1], "auroc": [0.5, np.nan]})


def refuse():
    raise AssertionError("computed although the result was there")


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """`store.cached` below the test's own folder, and the files there."""
    monkeypatch.setattr(store, "DATA", tmp_path)
    return partial(store.cached, "abx")


def test_a_table_is_computed_once_and_read_back_equal(cached, tmp_path):
    first = cached({}, lambda: FRAME)
    assert_frame_equal(first, FRAME)
    assert_frame_equal(cached({}, refuse), first)
    assert len(leftovers(tmp_path / "cache" / "abx")) == 1


def test_arrays_of_numpy_and_torch_come_back_as_numpy(tmp_path):
    content = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.float32(3),
        "empty": np.zeros((0, 4)),
        "torch": torch.arange(4).reshape(2, 2).T,
        "bfloat16": torch.tensor([1.5], dtype=torch.bfloat16),
        "bool": np.array([True, False]),
    }
    read = store.read_arrays(store.write_arrays(tmp_path / "a.safetensors", content))
    for name, values in content.items():
        expected = values.float().numpy() if name == "bfloat16" else np.asarray(values)
        np.testing.assert_array_equal(read[name], expected)
        assert read[name].shape == expected.shape
        assert read[name].dtype == expected.dtype
    assert read.keys() == content.keys()


def test_text_among_arrays_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"'names'.*table"):
        store.write_arrays(tmp_path / "a.safetensors", {"names": np.array(["A1"])})
    assert leftovers(tmp_path) == []


def test_other_parameters_or_other_code_compute_again_and_equal_ones_do_not(cached, monkeypatch):
    cached({"k": 5, "languages": ["A1"]}, lambda: FRAME)
    cached({"languages": ["A1"], "k": 5}, refuse)
    assert (cached({"k": 20, "languages": ["A1"]}, lambda: FRAME.assign(unit=7))["unit"] == 7).all()
    monkeypatch.setattr(store, "code", lambda: "other")
    assert (cached({"k": 5, "languages": ["A1"]}, lambda: FRAME.assign(unit=9))["unit"] == 9).all()


@pytest.mark.parametrize("name", ["table.parquet", "arrays.safetensors"])
def test_provenance_is_kept_in_the_file(tmp_path, monkeypatch, name):
    monkeypatch.setenv("ISOGLOSS_RUN", "01-abc")
    write = store.write_table if name.endswith("parquet") else store.write_arrays
    path = write(
        tmp_path / name, FRAME if name.endswith("parquet") else {"x": np.ones(2)}, provenance={"k": np.int64(5)}
    )
    origin = store.read_provenance(path)
    assert origin["parameters"] == {"k": 5}
    assert origin["run"] == "01-abc"
    assert origin["versions"]["numpy"] == np.__version__
    assert origin.keys() >= {"commit", "time", "helpers"}


def test_the_commit_is_read_from_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "HOUSE", tmp_path)
    assert store.describe()["commit"] == ""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text(f"# pack-refs\n{'b' * 40} refs/heads/main\n")
    assert store.describe()["commit"] == "b" * 40
    (git / "refs" / "heads" / "main").write_text("a" * 40 + "\n")
    assert store.describe()["commit"] == "a" * 40
    (git / "HEAD").write_text("c" * 40 + "\n")
    assert store.describe()["commit"] == "c" * 40


def test_the_digest_of_code_reaches_into_the_rooms(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "__file__", str(tmp_path / "helpers" / "common" / "store.py"))
    for room in ("abx", "models"):
        (tmp_path / "helpers" / room).mkdir(parents=True)
    seen = {rooms: set() for rooms in [(), ("abx",), ("models",)]}
    for text in ("a = 1", "a = 2"):
        (tmp_path / "helpers" / "abx" / "scoring.py").write_text(text)
        for rooms, digests in seen.items():
            digests.add(store.code.__wrapped__(*rooms))
    assert [len(digests) for digests in seen.values()] == [2, 2, 1]
    with pytest.raises(LookupError, match="no room 'abxs'; did you mean abx"):
        store.code.__wrapped__("abxs")


def test_a_crash_in_computing_leaves_no_file(cached, tmp_path):
    with pytest.raises(ZeroDivisionError):
        cached({}, lambda: 1 / 0)
    assert leftovers(tmp_path) == []


def test_a_crash_between_writing_and_renaming_keeps_the_old_result(tmp_path, monkeypatch):
    path = store.write_table(tmp_path / "table.parquet", FRAME)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write_table(path, FRAME.assign(unit=9))
    assert leftovers(tmp_path) == ["table.parquet"]
    assert_frame_equal(store.read_table(path), FRAME)


@pytest.mark.parametrize("kept", [0, 3, 0.5, 0.99])
def test_a_cut_file_is_computed_again_with_a_warning(cached, tmp_path, kept):
    cached({}, lambda: FRAME)
    (table,) = (tmp_path / "cache" / "abx").iterdir()
    arrays = store.write_arrays(tmp_path / "arrays.safetensors", {"x": np.arange(50.0)})
    for path in (table, arrays):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    with pytest.warns(UserWarning, match=rf"{table.name} is damaged"):
        assert_frame_equal(cached({}, lambda: FRAME), FRAME)
    with pytest.raises(store._DAMAGED):
        store.read_arrays(arrays)
    cached({}, refuse)


def test_one_flipped_bit_is_found_by_the_checksums(cached, tmp_path):
    long = pd.DataFrame({"value": np.arange(1000.0)})
    cached({}, lambda: long)
    (table,) = (tmp_path / "cache" / "abx").iterdir()
    arrays = store.write_arrays(tmp_path / "arrays.safetensors", {"x": np.arange(1000.0)})
    for path, place in ((table, 2000), (arrays, -4000)):
        octets = bytearray(path.read_bytes())
        octets[place] ^= 1
        path.write_bytes(octets)
    with pytest.warns(UserWarning, match="damaged"):
        assert_frame_equal(cached({}, lambda: long), long)
    with pytest.raises(ValueError, match="checksum"):
        store.read_arrays(arrays)


WRITE_TWOS = """
import sys
from contextlib import contextmanager
import numpy as np
from helpers.common import store
print("ready", flush=True)
for _ in range(30):
    store.write_arrays(sys.argv[1], {"x": np.full(20_000, 2)})
"""


@pytest.mark.slow
def test_two_processes_writing_one_result_end_in_one_whole_file(tmp_path):
    path = tmp_path / "arrays.safetensors"
    other = subprocess.Popen([sys.executable, "-c", WRITE_TWOS, path], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "ready\n"
    while other.poll() is None:
        store.write_arrays(path, {"x": np.ones(20_000)})
        assert len(np.unique(store.read_arrays(path)["x"])) == 1
    assert other.communicate()[0] == "" and other.returncode == 0
    assert leftovers(tmp_path) == ["arrays.safetensors"]


@contextmanager
def full_disk():
    """No file may grow beyond 4096 bytes; held only around the writes, for pytest's own output may be a longer file."""
    resource = pytest.importorskip("resource", reason="limits on file size exist on POSIX only")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path):
    value = np.random.default_rng(0).random(20_000)
    writes = {
        "large.parquet": lambda path: store.write_table(path, pd.DataFrame({"value": value})),
        "large.safetensors": lambda path: store.write_arrays(path, {"value": value}),
        "large.json": lambda path: store.write_json(path, list(value)),
    }
    for name, write in writes.items():
        with full_disk(), pytest.raises(OSError, match="bytes are free .*ISOGLOSS_HOME") as refusal:
            write(tmp_path / name)
        assert str(refusal.value).startswith(f"no room for {tmp_path / name}: ")
    assert leftovers(tmp_path) == []


def test_keys_are_equal_for_equal_values_and_refuse_what_json_cannot_hold():
    assert store.key({"a": 1, "b": [1, 2]}) == store.key({"b": (np.int64(1), 2), "a": 1})
    assert store.key({"a": 1}) != store.key({"a": "1"})
    assert len(store.key(Path("x"))) == 12
    with pytest.raises(ValueError, match="set"):
        store.key({1, 2})
    with pytest.raises(ValueError, match="nan"):
        store.key(float("nan"))


def test_json_and_text_are_whole_and_readable(tmp_path):
    path = store.write_json(tmp_path / "a.json", {"path": Path("x"), "é": np.float64(0.5)})
    assert json.loads(path.read_text(encoding="utf-8")) == {"path": "x", "é": 0.5}
    assert os.access(path, os.R_OK | os.W_OK)
