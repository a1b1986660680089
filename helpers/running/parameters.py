"""Parameters of a notebook: read from its tagged cell, and refused before anything starts.

A value is read as the type that its parameter declares, never guessed. Unknown names, other types and values that are
no choice are errors, and so is whatever looks like a secret, since an executed notebook keeps its parameters.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import FiniteFloat, Json, PositiveInt, TypeAdapter, ValidationError

from helpers.common.lookup import known

TYPES = {"str": str, "int": int, "float": FiniteFloat, "bool": bool, "list": list, "dict": dict}
TYPES |= {f"list[{name}]": list[TYPES[name]] for name in ("str", "int", "float", "bool")}
CHOICES = {  # what parameters of these names must be besides; dtype and device are looked up in models.hub
    "pool": Literal["max", "mean", "positive", "last"],
    "projection": Literal["umap", "pca"],
    "representations": list[Literal["ngrams", "ngrams_latin", "encoder"]],
    "ks": list[PositiveInt],
    **dict.fromkeys(("k", "sentences", "fitted", "replicates"), PositiveInt),
}
_SECRET_NAME = re.compile(r"(^|_)(token|key|apikey)$|(^|_)(secret|password|passwd|passphrase|credentials?)(_|$)")
_SECRET_VALUE = re.compile(r"\b(hf_|sk-|gh[pousr]_|github_pat_|glpat-|AKIA)[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: name, type as written (such as `list[str]`) and default."""

    name: str
    type: str
    default: object

    def read(self, value: object, strict: bool = True) -> object:
        """The value as the declared type, a whole number made a float; not `strict`: a text read as that type.

        A list has elements like those of the default. ValueError for another type, and for what is no choice.
        """
        elements = {type(item).__name__ for item in self.default} if isinstance(self.default, list) else set()
        element = "float" if elements == {"int", "float"} else "".join(elements)
        expected = TYPES.get(f"{self.type}[{element}]", TYPES[self.type])
        if isinstance(value, str) and not strict and self.type.startswith(("list", "dict")):
            expected = Json[expected]
        try:
            value = TypeAdapter(expected).validate_python(value, strict=strict)
            return TypeAdapter(CHOICES.get(self.name, object)).validate_python(value)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise ValueError(f"parameter {self.name!r} is {self.type}, not {value!r}: {why}") from None


def cells(source: Path) -> list[dict]:
    """The cells of a notebook, the source of each as one text."""
    book = json.loads(source.read_text(encoding="utf-8"))
    return [cell | {"source": "".join(cell["source"])} for cell in book["cells"]]


def inspect(source: Path) -> dict[str, Parameter]:
    """Parameters by name, from the cell tagged `parameters`; ValueError at a line other than `name: type = literal`."""
    tagged = [cell["source"] for cell in cells(source) if "parameters" in cell["metadata"].get("tags", [])]
    where = f"{source.name}, parameters cell, line"
    declared = [_declared(node, f"{where} {node.lineno}") for node in ast.parse("".join(tagged[:1])).body]
    return {parameter.name: parameter for parameter in declared}


def read_options(declared: Mapping[str, Parameter], options: list[str]) -> dict[str, object]:
    """Values by name from texts such as `k=5`, each read as its parameter's type; lists by commas or as JSON."""
    values = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or name in values:
            raise ValueError(f"-p {option!r} should be name=value, each name once")
        parameter, value = declared[known(name, declared, "parameter")], text
        if parameter.type.startswith("list") and not text.lstrip().startswith("["):
            value = [item.strip() for item in text.split(",") if item.strip()]
        values[name] = parameter.read(value, strict=False)
    return values


def check(declared: Mapping[str, Parameter], values: Mapping[str, object]) -> dict[str, object]:
    """The values as their parameters' types; LookupError for an unknown name, ValueError for a value and a secret."""
    for name, value in ({name: parameter.default for name, parameter in declared.items()} | dict(values)).items():
        if _SECRET_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()):
            told = "is named like a secret, and executed notebooks keep their parameters; put it in the environment"
            raise ValueError(f"parameter {name!r} {told} (HF_TOKEN), or run `hf auth login`")
        known(name, declared, "parameter")
        if _SECRET_VALUE.search(json.dumps(value, default=str)):
            raise ValueError(f"the value of {name!r} looks like an access token; put it in the environment instead")
    return {name: declared[name].read(value) for name, value in values.items()}


def _declared(node: ast.stmt, where: str) -> Parameter:
    try:
        parameter = Parameter(node.target.id, ast.unparse(node.annotation), ast.literal_eval(node.value))
    except (AttributeError, ValueError, TypeError):
        raise ValueError(f"{where}: {ast.unparse(node)!r} is not `name: type = literal`") from None
    if parameter.type not in TYPES:
        raise ValueError(f"{where}: type {parameter.type!r} is none of {', '.join(TYPES)}")
    parameter.read(parameter.default)
    return parameter
