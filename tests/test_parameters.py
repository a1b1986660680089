"""Parameters are read as their declared type, and refused by name, type or likeness to a secret."""

from pathlib import Path
from typing import get_args

import nbformat
import pytest

from helpers.running import parameters
from helpers.running.parameters import Parameter

PARAMETERS = """\
model: str = "mini"  # a hub id, a folder, or a mini model
corpus: str = "world"
k: int = 5  # experts per language
strength: float = 1.0
layers: list = [0, 6]
languages: list = []  # those evaluated
names: list[str] = ["a"]
options: dict = {"a": "x=1"}
tokens: str = "all"
interactive: bool = True
"""


@pytest.fixture
def written(tmp_path):
    """A function from the text of a parameters cell to what is declared there."""

    def inspected(text: str) -> dict[str, Parameter]:
        cell = nbformat.v4.new_code_cell(text, metadata={"tags": ["parameters"]})
        path = Path(tmp_path, "01_first.ipynb")
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A"), cell]), path)
        return parameters.inspect(path)

    return inspected


@pytest.fixture
def declared(written):
    return written(PARAMETERS)


def test_the_parameters_cell_is_read_with_types_and_defaults(declared):
    assert list(declared)[:3] == ["model", "corpus", "k"]
    assert declared["k"] == Parameter("k", "int", 5)
    assert declared["options"].default == {"a": "x=1"}


@pytest.mark.parametrize(
    "line",
    ["opts = 3", "a: int = 1 + n", "a: set = {1}", "a: int = 'x'", "import os", "a: list[int] = ['x']", "a: int"],
)
def test_a_parameters_cell_with_anything_else_is_refused_with_its_line(written, line):
    with pytest.raises(ValueError, match=r"line 2|parameter 'a"):
        written(f"k: int = 5\n{line}\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [("k=007", 7), ("strength=1e-3", 1e-3), ("strength=2", 2.0), ("model=no", "no"), ("model=007", "007")]
    + [("model=1e-3", "1e-3"), ("model=a=b", "a=b"), ("interactive=False", False), ("interactive=true", True)]
    + [("languages=deu_Latn,fra_Latn", ["deu_Latn", "fra_Latn"]), ("languages=", []), ("languages=no", ["no"])]
    + [("layers=1,2", [1, 2]), ("layers=[3]", [3]), ('languages=["a,b"]', ["a,b"]), ("names=7", ["7"])]
    + [('options={"b": 1}', {"b": 1})],
)
def test_texts_are_read_as_the_declared_type(declared, option, value):
    read = parameters.read_options(declared, [option])
    assert read == {option.split("=")[0]: value}
    assert parameters.check(declared, read) == read
    assert type(next(iter(read.values()))) is type(value)


@pytest.mark.parametrize(
    "option", ["k=five", "k=1.5", "interactive=no way", "layers=a,b", "layers=[1", "options=x", "k"]
)
def test_texts_of_another_type_are_refused(declared, option):
    with pytest.raises(ValueError, match=option.split("=")[0]):
        parameters.read_options(declared, [option])


@pytest.mark.parametrize(
    "values",
    [{"layers": "3"}, {"k": "5"}, {"k": True}, {"k": 5.0}, {"model": 7}, {"interactive": 0}, {"layers": ["3"]}]
    + [{"names": [1]}, {"strength": float("nan")}, {"languages": ("a",)}],
)
def test_values_of_another_type_are_refused(declared, values):
    with pytest.raises(ValueError, match=f"parameter '{next(iter(values))}"):
        parameters.check(declared, values)


def test_a_whole_number_will_do_for_a_float(declared):
    assert repr(parameters.check(declared, {"strength": 2})) == "{'strength': 2.0}"


def test_an_unknown_parameter_is_refused_naming_the_nearest(declared):
    with pytest.raises(LookupError, match=r"'strenght'; did you mean strength"):
        parameters.check(declared, {"strenght": 2.0})


@pytest.mark.parametrize(
    "name", ["hf_token", "token", "api_key", "apiKey", "HF_TOKEN", "secret", "db_password_old", "key"]
)
def test_a_parameter_named_like_a_secret_is_refused(written, declared, name):
    with pytest.raises(ValueError, match="named like a secret"):
        parameters.check(declared, {name: "x"})
    with pytest.raises(ValueError, match="named like a secret"):
        parameters.check(written(f'{name}: str = ""'), {})


def test_names_that_only_resemble_secrets_are_allowed(written):
    names = ["tokens", "tokenizer", "token_count", "keys", "key_layers", "monkey"]
    declared = written("\n".join(f"{name}: int = 0" for name in names))
    assert parameters.check(declared, dict.fromkeys(names, 1)) == dict.fromkeys(names, 1)


@pytest.mark.parametrize("start", ["hf_", "sk-", "ghp_"])
def test_a_value_that_looks_like_a_secret_is_refused_and_not_repeated(declared, start):
    with pytest.raises(ValueError, match="looks like an access token") as refusal:
        parameters.check(declared, {"languages": ["deu_Latn", start + "a1B2" * 8]})
    assert "a1B2" not in str(refusal.value)
    assert parameters.check(declared, {"model": "hf_small", "corpus": "sk-ip"})


@pytest.mark.parametrize(
    "line, value",
    [('pool: str = "max"', "sum"), ('projection: str = "umap"', "tsne"), ("k: int = 5", 0), ("ks: list = [5]", [5, 0])]
    + [("sentences: int = 40", -1), ("representations: list = []", ["ngram"])],
)
def test_a_value_that_is_no_choice_or_too_small_a_count_is_refused(written, line, value):
    declared = written(line)
    name = next(iter(declared))
    with pytest.raises(ValueError, match=f"parameter '{name}' is .*(should be|greater than 0)"):
        parameters.check(declared, {name: value})
    assert parameters.check(declared, {name: declared[name].default}) == {name: declared[name].default}


def test_choices_are_those_that_the_rooms_know():
    from helpers.embeddings import batching, projection
    from helpers.transfer import training

    choices = {name: get_args(kind) for name, kind in parameters.CHOICES.items()}
    assert {*choices["pool"]} == {*batching.POOLS}
    assert {*choices["projection"]} == {*projection.METHODS}
    assert {*get_args(choices["representations"][0])} == {*training.REPRESENTATIONS}
