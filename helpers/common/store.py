"""Files on disk: written whole or not at all, with what made them; nothing is ever pickled.

A file is written under a temporary name beside its own, flushed, and only then renamed. Tables are parquet, arrays
safetensors; both carry the parameters, versions, commit and time of their making.
"""

import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from helpers import DATA, HOUSE, __version__
from helpers.common.lookup import known

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "pandas", "scikit-learn", "umap-learn")
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_DAMAGED = (OSError, ValueError, KeyError, pa.ArrowException, SafetensorError)


def cached(kind: str, about: Mapping, compute: Callable[[], pd.DataFrame], *rooms: str) -> pd.DataFrame:
    """The table that `compute` makes of what it is `about`, kept in `data/cache/<kind>`.

    Another code of these `rooms` (all where none is named) computes it again, and so does, with a warning, damage.
    """
    about = {**about, "code": code(*rooms)}
    path = DATA / "cache" / kind / f"{key(about)}.parquet"
    if path.exists():
        try:
            return read_table(path)
        except _DAMAGED as error:
            warnings.warn(f"{path} is damaged ({error}); computing it again", stacklevel=2)
    return read_table(write_table(path, compute(), provenance=about))  # the first and later calls return the same


def write_table(path: Path, content: pd.DataFrame, *, provenance: Mapping | None = None) -> Path:
    """The path, now holding the table as parquet with page checksums and the provenance in its metadata."""
    columns = pa.Table.from_pandas(content)
    origin = (columns.schema.metadata or {}) | {"isogloss": json.dumps(describe(provenance))}
    with whole(path) as temporary:
        pq.write_table(columns.replace_schema_metadata(origin), temporary, write_page_checksum=True)
    return Path(path)


def read_table(path: Path) -> pd.DataFrame:
    """The table of a parquet file, its checksums verified."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read().to_pandas()


def write_arrays(path: Path, content: Mapping, *, provenance: Mapping | None = None) -> Path:
    """The path, now holding numpy arrays or torch tensors by name as safetensors; bfloat16 is widened to float32."""
    plain = {name: _plain(name, values) for name, values in content.items()}
    metadata = {"isogloss": json.dumps(describe(provenance)), "crc32": _checksum(plain)}
    with whole(path) as temporary:
        save_file(plain, temporary, metadata=metadata)
    return Path(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Numpy arrays by name from a safetensors file; ValueError where their checksum is not the one written beside."""
    with safe_open(path, framework="np") as file:
        content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        stated = (file.metadata() or {}).get("crc32")
    if stated not in (None, _checksum(content)):
        raise ValueError(f"{path} has checksum {_checksum(content)} but was written with {stated}; delete it")
    return content


def write_json(path: Path, content: object) -> Path:
    """The path, now holding `content` as indented JSON."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=_jsonable) + "\n")


def write_text(path: Path, content: str) -> Path:
    """The path, now holding `content` in UTF-8."""
    with whole(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return Path(path)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path that takes the final name on a clean exit and vanishes on any other."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
    with room_for(path):
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Raise OSError with the path, the bytes that are free and what to do where the disk is full in this block."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        stated = re.findall(r"os error (\d+)", str(error))  # safetensors has the number in its text only
        if not {getattr(error, "errno", None), *map(int, stated)} & _FULL:
            raise
        fact = f"{shutil.disk_usage(path.parent).free:,} bytes are free in {path.parent}"
        move = "free some space or point ISOGLOSS_HOME at a larger disk, then run again"
        raise OSError(f"no room for {path}: {fact}; {move}") from error


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep the work of this name from any other process, until this one ends; filelock.Timeout if one has it."""
    place = DATA / "cache" / "locks" / f"{name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place, timeout=0):
        yield


def describe(parameters: Mapping | None = None) -> dict:
    """Provenance of a result made now: parameters, run, helpers' version and commit, package versions, time in UTC."""
    return {
        "parameters": json.loads(_canonical(parameters or {})),
        "run": os.environ.get("ISOGLOSS_RUN", ""),
        "helpers": __version__,
        "commit": _commit(),
        "versions": _versions(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def read_provenance(path: Path) -> dict:
    """What `describe` said when the parquet or safetensors file was written; empty for a file from elsewhere."""
    if Path(path).suffix == ".parquet":
        return json.loads((pq.read_schema(path).metadata or {}).get(b"isogloss", "{}"))
    with safe_open(path, framework="np") as file:
        return json.loads((file.metadata() or {}).get("isogloss", "{}"))


def key(parameters: object) -> str:
    """Twelve hex digits that name JSON-able parameters: equal for equal values, whatever the order of a dict's keys."""
    return hashlib.sha256(_canonical(parameters).encode()).hexdigest()[:12]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files, in their order."""
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        found.update(f"{file.name} {len(content)}\n".encode() + content)
    return found.hexdigest()


@cache
def code(*rooms: str) -> str:
    """Digest of the code of these rooms, or of the whole package, at any depth: what other code made is old."""
    package = Path(__file__).resolve().parents[1]
    folders = [package / known(room, os.listdir(package), "room") for room in rooms] or [package]
    return digest(file for folder in folders for file in sorted(folder.rglob("*.py")))


def _plain(name: str, values: object) -> np.ndarray:
    """A contiguous numpy array of a kind that safetensors holds; strings and objects are refused by name."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    array = np.asarray(values, order="C")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"array {name!r} has dtype {array.dtype}; store numbers here and text in a table")
    return array


def _checksum(content: Mapping[str, np.ndarray]) -> str:
    total = 0
    for name in sorted(content):
        total = zlib.crc32(content[name].tobytes(), zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def _canonical(parameters: object) -> str:
    try:
        return json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_jsonable)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot name parameters {parameters!r}: {error}; use text, finite numbers, lists") from error


def _jsonable(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


@cache
def _versions() -> dict[str, str]:
    return {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def _commit() -> str:
    """Commit of the checkout that this package runs from, read from its files; empty outside of one."""
    git = HOUSE / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        name = head.removeprefix("ref: ")
        if name == head or (git / name).exists():
            return head if name == head else (git / name).read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
