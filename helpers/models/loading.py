"""Language models: load one at a revision or a step, list its checkpoints, find its blocks and MLP Linears.

Parts are found by structure, not by a list of architectures: a new family works as long as its blocks are one list and
its attention is called attention. What cannot be read is refused by name.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import is_accelerate_available

from helpers.common.lookup import known
from helpers.models.hub import checkpoints as checkpoints
from helpers.models.hub import locate

DTYPES = ("auto", "float32", "bfloat16", "float16")
_ATTENTION = re.compile(r"att(n|ention)", re.IGNORECASE)
_MIXTURE = re.compile(r"Experts|Moe|MoE|Router")


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
    known(dtype, DTYPES, "dtype")
    folder, found = locate(name, revision, subfolder)
    _refuse_pickles(folder, name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    options = {"dtype": dtype, "local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    place = _place(device)
    model = _kind(config).from_pretrained(folder, **options, device_map="auto" if place is None else None)
    words = _tokenizer(locate(tokenizer, "", "", weights=False)[0] if tokenizer else folder)
    return LanguageModel((model if place is None else model.to(place)).eval(), words, name, found)


def prefetch(name: str, revision: str = "", subfolder: str = "") -> Path:
    """The folder of a model's safetensors, configuration and tokenizer, downloaded once; all later work is offline."""
    return locate(name, revision, subfolder)[0]


def weights_hash(lm: LanguageModel) -> str:
    """SHA-256 of the names, dtypes and values of all parameters and buffers, about a second per GB."""
    digest = hashlib.sha256()
    for name, tensor in sorted(lm.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def identity(lm: LanguageModel) -> dict[str, str]:
    """What a cached result of `lm` is filed under: its name, its revision and the hash of its weights."""
    return {"model": lm.name, "revision": lm.revision, "weights": weights_hash(lm)}


def duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of table[step, weights, ...] whose `weights` hash an earlier step has too; warns when there are any.

    Public series hold such steps (BLOOM's do), and a curve over them shows a plateau that training never had.
    """
    steps = table.drop_duplicates(["step", "weights"])
    first = steps.groupby("weights")["step"].transform("min")
    again = steps.assign(same_as=first).query("step > same_as")
    if len(again):
        pairs = ", ".join(f"{step} = {same}" for step, same in zip(again["step"], again["same_as"]))
        warnings.warn(
            f"{len(again)} of {len(steps)} checkpoints repeat an earlier step's weights: {pairs}", stacklevel=2
        )
    return again


def blocks(lm: LanguageModel) -> dict[str, nn.Module]:
    """The transformer blocks by module path, in order; block b yields layer b + 1.

    They are the outermost list of modules as long as the model has layers; ValueError when that is not one list.
    """
    depth = lm.model.config.get_text_config().num_hidden_layers
    lists = {path: part for path, part in lm.model.named_modules() if isinstance(part, nn.ModuleList)}
    fitting = [path for path, part in lists.items() if len(part) == depth]
    outermost = [path for path in fitting if not any(path.startswith(f"{other}.") for other in fitting)]
    if len(outermost) != 1:
        found = ", ".join(f"{path} ({len(part)})" for path, part in lists.items()) or "none"
        raise ValueError(
            f"{lm.name}: {len(outermost)} module lists as long as its {depth} layers; lists found: {found}"
        )
    return {f"{outermost[0]}.{number}": block for number, block in enumerate(lists[outermost[0]])}


def sites(lm: LanguageModel) -> dict[str, nn.Module]:
    """The MLP Linears (`nn.Linear` or `Conv1D`) of all blocks by module path, in model order.

    They are the Linears of a block that lie outside its attention: in gated MLPs gate, up and down, elsewhere the two
    dense maps. Their outputs come before the activation function. ValueError for a mixture of experts, whose units fire
    on routed tokens only, and for blocks without the expected parts; it lists what was found.
    """
    found: dict[str, nn.Module] = {}
    for path, block in blocks(lm).items():
        parts = {f"{path}.{name}": part for name, part in block.named_modules() if name}
        linears = {name: part for name, part in parts.items() if isinstance(part, nn.Linear | Conv1D)}
        mlp = {name: part for name, part in linears.items() if not _ATTENTION.search(name.removeprefix(path))}
        mixture = any(_MIXTURE.search(type(part).__name__) for part in parts.values())
        if mixture or len(mlp) < 2 or len(mlp) == len(linears):
            reason = "is a mixture of experts" if mixture else "has not both attention and two MLP Linears"
            shown = ", ".join(f"{name}: {type(part).__name__}" for name, part in parts.items())
            raise ValueError(f"{lm.name}: {path} {reason}; use a dense transformer. Modules found: {shown}")
        found |= mlp
    return found


def width(module: nn.Module) -> int:
    """The number of units, that is of outputs, of a Linear or Conv1D."""
    units = getattr(module, "out_features", None) or getattr(module, "nf", None)
    if units is None:
        raise ValueError(f"{type(module).__name__} has no number of outputs; pass a Linear or a Conv1D")
    return units


def hidden(output: Any) -> Tensor:
    """The hidden states in a module's output: itself, or the first entry of a tuple or of a model output."""
    states = output if isinstance(output, Tensor) else output[0]
    if not isinstance(states, Tensor) or states.ndim != 3:
        raise ValueError(
            f"expected hidden states [sentence, token, unit], got {getattr(states, 'shape', type(states))}"
        )
    return states


def _refuse_pickles(folder: Path, name: str) -> None:
    """ValueError unless the folder holds safetensors: a pickle can run code when it is opened."""
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    held = f"only pickled weights ({', '.join(pickled)})" if pickled else "no safetensors weights"
    raise ValueError(f"{folder} holds {held}; make a safetensors folder of it: python -m helpers convert {name}")


def _kind(config: PretrainedConfig) -> type:
    """The Auto class that loads a checkpoint with the head it was trained with."""
    if config.is_encoder_decoder:
        raise ValueError(f"{config.model_type} is an encoder-decoder; use a decoder or an encoder")
    trained = " ".join(config.architectures or [])
    if "ForCausalLM" in trained or "LMHeadModel" in trained:
        return AutoModelForCausalLM
    return AutoModelForMaskedLM if "ForMaskedLM" in trained else AutoModel


def _place(device: str) -> str | None:
    """The device to load onto; None to let accelerate spread the model over several GPUs."""
    if device == "auto":
        several = torch.cuda.device_count() > 1 and is_accelerate_available()
        return None if several else "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device {device!r} is none of auto, cpu, cuda (cuda:1 is the second GPU) or mps")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}, but torch sees 0 GPUs here; pass device='auto'")
    return device


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, with a padding token; its end token serves where it has none."""
    if not any(folder.glob("*token*")) and not any(folder.glob("vocab*")):
        raise LookupError(f"no tokenizer in {folder}; pass tokenizer= the name of the finished model")
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if words.pad_token is None:
        words.pad_token = words.eos_token or words.unk_token
    return words
