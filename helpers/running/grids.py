"""Sweeps as they are written: a YAML file becomes a list of points, each with a value for some parameters.

Plain values are read after YAML 1.2, as in JSON: `true` and `1e-3` are what they look like, and whatever else older
YAML would guess at (`no`, `007`, `1_000`, `12:30`, a date) is the text that stands there.
"""

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import ClassVar

import yaml

from helpers.common.lookup import known

KEYS = {"notebooks": list, "defaults": dict, "grid": dict, "include": list, "exclude": list}
_PLAIN = {
    "null": r"null|Null|NULL|~|",
    "bool": r"[Tt]rue|TRUE|[Ff]alse|FALSE",
    "int": r"[-+]?(0|[1-9]\d*)",
    "float": r"[-+]?(\.\d+|(0|[1-9]\d*)(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.inf|\.nan",
}


class _Loader(yaml.SafeLoader):
    """YAML whose plain values are JSON's, and in which a name stands once."""

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """The mapping; a YAML error with its line for a name given twice."""
        names = [name.value for name, _ in node.value]
        for name, _ in node.value:
            if names.count(name.value) > 1:
                raise yaml.MarkedYAMLError(problem=f"{name.value!r} is there twice", problem_mark=name.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"({_pattern})$"), None)


def read(path: Path, keys: Mapping[str, type]) -> dict:
    """The mapping in a YAML file; ValueError or LookupError, with the file's name, for other keys or types.

    LookupError too for a file that is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise LookupError(f"no file {path}; there are: {', '.join(map(str, path.parent.glob('*.yaml'))) or 'none'}")
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
        if not isinstance(content, dict):
            raise ValueError(f"holds {content!r}; write {', '.join(keys)}")
        for name, value in content.items():
            if not isinstance(value, keys[known(name, keys, "key")]):
                raise ValueError(f"{name} is {value!r}; write a {keys[name].__name__}")
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
    for name, values in grid.items():
        if name in defaults:
            raise ValueError(f"{name!r} is in defaults and in grid; keep one of them")
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid: {name} is {values!r}; write a list of values, such as [{values!r}]")
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
