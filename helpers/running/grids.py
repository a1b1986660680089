"""Sweeps as they are written: a YAML file becomes a list of points, each with a value for some parameters.

One idea: nothing is guessed. What YAML reads otherwise than it looks (`007`, `1_000`, a name given twice) is refused
with its line, and what it reads as another type than a notebook declares is explained where that is found out.
"""

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import yaml

from helpers.common.lookup import known

KEYS = {"notebooks": list, "defaults": dict, "grid": dict, "include": list, "exclude": list}
_OTHERWISE = re.compile(r"[-+]?(0[0-7_]+|\d+(:[0-5]?\d)+(\.\d*)?|\d[\d_]*_[\d_]*)$")  # octal, base 60, 1_000
_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


def read(path: Path, keys: Mapping[str, type]) -> dict:
    """The mapping in a YAML file; ValueError or LookupError, with the file's name, for other keys or types.

    LookupError too for a file that is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise LookupError(f"no file {path}; there are: {', '.join(map(str, path.parent.glob('*.yaml'))) or 'none'}")
    text = path.read_text(encoding="utf-8")
    try:
        _refuse_traps(yaml.compose(text, Loader=yaml.SafeLoader))
        content = yaml.safe_load(text)
        if not isinstance(content, dict):
            raise ValueError(f"holds {_kind(content)}; write {', '.join(keys)}")
        for name, value in content.items():
            if not isinstance(value, keys[known(name, keys, "key")]):
                raise ValueError(f"{name} is {_kind(value)} ({value!r}); write a {keys[name].__name__}")
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, LookupError) as error:
        raise type(error)(f"{path.name}: {error.args[0]}") from None
    return content


def points(spec: Mapping) -> list[dict]:
    """The points of a sweep: the product of `grid` over `defaults`, less `exclude`, then each of `include`.

    Without a grid there is the one point of the defaults, or those of `include`. ValueError for a name in both defaults
    and grid, for grid values that are no list, and for an entry of `exclude` that matches nothing.
    """
    defaults, grid, include = spec.get("defaults", {}), spec.get("grid", {}), spec.get("include", [])
    _check_grid(defaults, grid)
    for entry in [*include, *spec.get("exclude", [])]:
        if not isinstance(entry, dict) or not entry:
            raise ValueError(f"include and exclude hold {entry!r}; write {{name: value, ...}}")
    found = [defaults | dict(zip(grid, values)) for values in product(*grid.values())] if grid or not include else []
    for entry in spec.get("exclude", []):
        kept = [point for point in found if not entry.items() <= point.items()]
        if len(kept) == len(found):
            raise ValueError(f"exclude: {entry} matches none of the {len(found)} points of the grid; mend or drop it")
        found = kept
    return found + [defaults | entry for entry in include]


def hint(value: object) -> str:
    """What to write instead of a value that YAML read as another type than was meant; empty when that is unclear."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool) for item in items):
        return "; YAML reads no, off, yes and on as false and true: put such a text in quotes"
    if any(isinstance(item, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", item) for item in items):
        return "; YAML reads 1e-3 as text: write 1.0e-3"
    if any(isinstance(item, int | float) for item in items):
        return "; YAML reads bare digits as a number: put a text in quotes, and a list in brackets"
    if any(isinstance(item, str | list) for item in items):
        return "; in a grid, each value of a list parameter is itself a list, and numbers have no quotes"
    return "; put a text in quotes"


def _check_grid(defaults: Mapping, grid: Mapping) -> None:
    for name, values in grid.items():
        if name in defaults:
            raise ValueError(f"{name!r} is in defaults and in grid; keep one of them")
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid: {name} is {values!r}; write a list of values, such as [{values!r}]")


def _refuse_traps(node: yaml.Node | None) -> None:
    """ValueError, with its line, at a name given twice and at a plain number that does not read as it looks."""
    if isinstance(node, yaml.MappingNode):
        names = [name.value for name, _ in node.value]
        for name, _ in node.value:
            if names.count(name.value) > 1:
                raise ValueError(f"line {name.start_mark.line + 1}: {name.value!r} is there twice; keep one of them")
    elif isinstance(node, yaml.ScalarNode):
        if node.tag in (_INTEGER, _FLOAT) and node.style is None and _OTHERWISE.match(node.value):
            read = yaml.safe_load(node.value)
            told = f"YAML reads {node.value} as the number {read}; write {read}, or '{node.value}' for a text"
            raise ValueError(f"line {node.start_mark.line + 1}: {told}")
        return
    for child in node.value if node else []:
        for part in child if isinstance(child, tuple) else (child,):
            _refuse_traps(part)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
