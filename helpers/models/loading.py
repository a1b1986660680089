"""Language models: load one at a revision or a step, and tell one from another by its weights."""

import hashlib
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import is_accelerate_available

from helpers.models.hub import check_place, locate


@dataclass(frozen=True)
class LanguageModel:
    """A model in evaluation mode with its tokenizer, its name, and its revision: a commit, or the folder of a step."""

    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    name: str
    revision: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return self.model.device


def load(
    name: str,
    revision: str = "",
    subfolder: str = "",
    tokenizer: str = "",
    *,
    dtype: str = "auto",
    device: str = "auto",
) -> LanguageModel:
    """The model `name` in evaluation mode, with a language modelling head where its checkpoint has one.

    `revision` is a branch, tag or commit of the hub, or a step folder of a local series (empty: its last step).
    `tokenizer` names another place to take the tokenizer from. `dtype` "auto" keeps the checkpoint's; `device` "auto"
    is CUDA where there is one, spread over several GPUs when accelerate is installed. Only safetensors are read and no
    remote code is run. LookupError: an unknown name or revision; ValueError: pickled weights, or an encoder-decoder.
    """
    check_place(dtype, device)
    folder, found = locate(name, revision, subfolder)
    _refuse_pickles(folder, name)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    options = {"dtype": dtype, "local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    place, words = _place(device), locate(tokenizer, weights=False)[0] if tokenizer else folder
    model = _kind(config).from_pretrained(folder, **options, device_map="auto" if place is None else None)
    return LanguageModel((model if place is None else model.to(place)).eval(), _tokenizer(words), name, found)


def prefetch(name: str, revision: str = "", subfolder: str = "") -> Path:
    """The folder of a model's safetensors, configuration and tokenizer, downloaded once; all later work is offline."""
    return locate(name, revision, subfolder)[0]


def identity(lm: LanguageModel) -> dict[str, str]:
    """What a cached result of `lm` is filed under: its name, its revision and the SHA-256 of its weights.

    The names, dtypes and values of all parameters and buffers are digested, at about a second per GB.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(lm.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return {"model": lm.name, "revision": lm.revision, "weights": digest.hexdigest()}


def duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of table[step, weights, ...] whose `weights` hash an earlier step has too; warns when there are any.

    Public series hold such steps (BLOOM's do), and a curve over them shows a plateau that training never had.
    """
    steps = table.drop_duplicates(["step", "weights"])
    again = steps.assign(same_as=steps.groupby("weights")["step"].transform("min")).query("step > same_as")
    if len(again):
        pairs = ", ".join(f"{step} = {same}" for step, same in zip(again["step"], again["same_as"]))
        fact = f"{len(again)} of {len(steps)} checkpoints repeat an earlier step's weights: {pairs}"
        warnings.warn(fact, stacklevel=2)
    return again


def _refuse_pickles(folder: Path, name: str) -> None:
    """ValueError unless the folder holds safetensors: a pickle can run code when it is opened."""
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        held = f"no safetensors, only pickled weights ({', '.join(pickled) or 'none'})"
        raise ValueError(f"{folder} holds {held}; make a safetensors folder of it: python -m helpers convert {name}")


def _kind(config: PretrainedConfig) -> type:
    """The Auto class that loads a checkpoint with the head it was trained with."""
    if config.is_encoder_decoder:
        raise ValueError(f"{config.model_type} is an encoder-decoder; use a decoder or an encoder")
    trained = " ".join(config.architectures or [])
    if "ForCausalLM" in trained or "LMHeadModel" in trained:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModelForMaskedLM if "ForMaskedLM" in trained else transformers.AutoModel


def _place(device: str) -> str | None:
    """The device to load onto; None to let accelerate spread the model over several GPUs."""
    if device == "auto":
        several = torch.cuda.device_count() > 1 and is_accelerate_available()
        return None if several else "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}, but torch sees 0 GPUs here; pass device='auto'")
    return device


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, with a padding token; its end token serves where it has none."""
    if not [*folder.glob("*token*"), *folder.glob("vocab*")]:
        raise LookupError(f"no tokenizer in {folder}; pass tokenizer= the name of the finished model")
    words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if words.pad_token is None:
        words.pad_token = words.eos_token or words.unk_token
    return words
