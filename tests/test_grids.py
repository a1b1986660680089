"""A sweep's file becomes points; plain values are read as they look, and what says nothing is refused."""

import pytest

from helpers.running import grids


def written(tmp_path, text: str) -> dict:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return grids.read(path, grids.KEYS)


def test_points_are_the_grid_over_the_defaults_less_exclude_then_include():
    spec = {
        "defaults": {"seed": 1, "layers": [0, 6]},
        "grid": {"model": ["a", "b"], "k": [5, 20]},
        "exclude": [{"model": "b", "k": 20}, {"model": "a", "k": 5}],
        "include": [{"model": "c", "k": 1, "seed": 2}],
    }
    fixed = {"seed": 1, "layers": [0, 6]}
    assert grids.points(spec) == [
        fixed | {"model": "a", "k": 20},
        fixed | {"model": "b", "k": 5},
        fixed | {"model": "c", "k": 1, "seed": 2},
    ]


def test_without_a_grid_there_is_one_point_or_those_of_include():
    assert grids.points({"defaults": {"k": 1}}) == [{"k": 1}]
    assert grids.points({"include": [{"k": 1}]}) == [{"k": 1}]
    assert grids.points({"grid": {"layers": [[0, 6], [1]]}}) == [{"layers": [0, 6]}, {"layers": [1]}]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"grid": {"k": [1]}, "defaults": {"k": 2}}, "in defaults and in grid"),
        ({"grid": {"k": 5}}, r"write a list of values, such as \[5\]"),
        ({"grid": {"k": []}}, "list of values"),
        ({"grid": {"k": [1]}, "exclude": [{"k": 2}]}, r"\{'k': 2\} matches none of the 1 points"),
        ({"include": ["k"]}, "include and exclude hold 'k'"),
    ],
)
def test_a_grid_that_says_nothing_is_refused(spec, told):
    with pytest.raises(ValueError, match=told):
        grids.points(spec)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("defaults:\n  k: 1\n  k: 2", "some.yaml is not YAML: 'k' is there twice in .*line 2"),
        ("grids: {k: [1]}", "no key 'grids'; did you mean grid"),
        ("grid: [1]", r"grid is \[1\]; write a dict"),
        ("", "holds None; write notebooks"),
        ("grid: {k: [1", "some.yaml is not YAML"),
        ("grid: !!python/object/apply:os.system [ls]", "some.yaml is not YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_says_nothing_is_refused(tmp_path, text, told):
    with pytest.raises((ValueError, LookupError), match=told):
        written(tmp_path, text)


def test_plain_values_are_read_as_they_look(tmp_path):
    text = "grid: {k: ['007', 0, 10, -3, 1.0e-3, 1e-3, 1., .5, .nan, true, False, null, ~, ]}"
    *read, nan, yes, no, none, tilde = written(tmp_path, text)["grid"]["k"]
    assert read == ["007", 0, 10, -3, 1e-3, 1e-3, 1.0, 0.5] and [type(x) for x in read[1:4]] == [int] * 3
    assert nan != nan and (yes, no, none, tilde) == (True, False, None, None)


def test_what_older_yaml_guesses_at_is_the_text_that_stands_there(tmp_path):
    texts = ["007", "010", "1_000", "12:30", "08:00:00", "no", "off", "yes", "2026-01-01", "0x1F", "="]
    assert written(tmp_path, f"grid: {{k: [{', '.join(texts)}]}}")["grid"]["k"] == texts


def test_a_file_that_is_not_there_lists_those_that_are(tmp_path):
    (tmp_path / "small.yaml").touch()
    with pytest.raises(LookupError, match=r"no file .*smal.yaml; there are: .*small.yaml"):
        grids.read(tmp_path / "smal.yaml", grids.KEYS)
