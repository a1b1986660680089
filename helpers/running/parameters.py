"""Parameters of a notebook: read from its tagged cell, and refused before anything starts.

One idea: a value is read as the type that its parameter declares, never guessed. Unknown names and other types are
errors, and so is whatever looks like a secret, since an executed notebook keeps its parameters.
"""

import ast
import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
_SECRET_NAME = re.compile(r"(^|_)(token|key|apikey)$|(^|_)(secret|password|passwd|passphrase|credentials?)(_|$)")
_SECRET_VALUE = re.compile(r"\b(hf_|sk-|gh[pousr]_|github_pat_|glpat-|AKIA)[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: name, type as written (such as `list[str]`) and default."""

    name: str
    type: str
    default: object


def inspect(source: Path) -> dict[str, Parameter]:
    """Parameters by name, from the cell tagged `parameters`; ValueError at a line other than `name: type = literal`."""
    book = nbformat.read(source, as_version=4)
    tagged = [cell.source for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    if not tagged:
        return {}
    where = f"{source.name}, parameters cell, line"
    declared = [_declared(node, f"{where} {node.lineno}") for node in ast.parse(tagged[0]).body]
    return {parameter.name: parameter for parameter in declared}


def read_options(declared: Mapping[str, Parameter], options: list[str]) -> dict[str, object]:
    """Values by name from texts such as `k=5`, each read as the type its parameter declares, never guessed."""
    values = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or name in values:
            raise ValueError(f"-p {option!r} should be name=value, each name once")
        _refuse_unknown(name, declared)
        values[name] = _parse(declared[name], text)
    return values


def check(declared: Mapping[str, Parameter], values: Mapping[str, object]) -> dict[str, object]:
    """The values, whole numbers made floats where declared so; refused when unknown, of another type, or a secret."""
    for name in [*declared, *values]:
        if _SECRET_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()):
            raise ValueError(
                f"parameter {name!r} is named like a secret, and executed notebooks keep their parameters; "
                "put it in the environment (HF_TOKEN) or run `hf auth login`"
            )
    for name in values:
        _refuse_unknown(name, declared)
    for name, value in ({name: parameter.default for name, parameter in declared.items()} | dict(values)).items():
        if _SECRET_VALUE.search(json.dumps(value, default=str)):
            raise ValueError(f"the value of {name!r} looks like an access token; put it in the environment instead")
    return {name: _typed(declared[name], value) for name, value in values.items()}


def nearest(name: str, names: list[str]) -> str:
    """The three names most like this one, for an error message."""
    near = {other.casefold(): other for other in names}
    found = difflib.get_close_matches(name.casefold(), near, n=3, cutoff=0.0)
    return ", ".join(near[other] for other in found) or "none, there are no others"


def _declared(node: ast.stmt, where: str) -> Parameter:
    try:
        kind = ast.unparse(node.annotation)
        parameter = Parameter(node.target.id, kind, ast.literal_eval(node.value))
    except (AttributeError, ValueError, TypeError):
        raise ValueError(f"{where}: {ast.unparse(node)!r} is not `name: type = literal`") from None
    if not re.fullmatch(r"(str|int|float|bool|list|dict)|list\[(str|int|float|bool)\]", kind):
        raise ValueError(f"{where}: type {kind!r} is none of {', '.join(TYPES)} or a list of one, such as list[str]")
    _typed(parameter, parameter.default)
    return parameter


def _element(parameter: Parameter) -> str:
    """Type of a list's elements: as declared, else that of the default's elements, else empty."""
    if parameter.type.startswith("list["):
        return parameter.type[5:-1]
    kinds = {type(value).__name__ for value in parameter.default}
    if kinds == {"int", "float"}:
        return "float"
    return kinds.pop() if len(kinds) == 1 else ""


def _typed(parameter: Parameter, value: object) -> object:
    """The value if it has the declared type; ValueError with both types otherwise."""
    kind = parameter.type.partition("[")[0]
    if kind == "float" and type(value) is int:
        value = float(value)
    if type(value) is not TYPES[kind]:
        raise ValueError(f"parameter {parameter.name!r} is {parameter.type}, not {type(value).__name__} ({value!r})")
    if kind == "float" and not math.isfinite(value):
        raise ValueError(f"parameter {parameter.name!r} is {value}; give a finite number")
    if kind == "list" and isinstance(parameter.default, list) and (element := _element(parameter)) in TYPES:
        each = Parameter(f"{parameter.name}[]", element, [])
        return [_typed(each, item) for item in value]
    return value


def _parse(parameter: Parameter, text: str) -> object:
    """A text read as the declared type: `no` stays text for str, `007` and `1e-3` too; lists by commas or as JSON."""
    kind = parameter.type.partition("[")[0]
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.strip().lower()]
        if kind == "list" and not text.lstrip().startswith("["):
            each = Parameter(parameter.name, _element(parameter) or "str", [])
            return [_parse(each, item.strip()) for item in text.split(",") if item.strip()]
        return json.loads(text) if kind in ("list", "dict") else TYPES[kind](text)
    except (ValueError, KeyError):
        hint = {"bool": "true or false", "list": "a,b,c or a JSON list", "dict": "JSON"}.get(kind, f"one {kind}")
        raise ValueError(f"parameter {parameter.name!r} is {parameter.type}, not {text!r}; write {hint}") from None


def _refuse_unknown(name: str, declared: Mapping[str, Parameter]) -> None:
    if name not in declared:
        raise LookupError(f"no parameter {name!r}; nearest: {nearest(name, list(declared))}")
