"""The parts of a model: its blocks, and the Linears of their MLPs.

A new family works as long as its blocks are one list and its attention is called attention; any other is refused.
"""

import re
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from helpers.models.loading import LanguageModel

_ATTENTION = re.compile(r"att(n|ention)", re.IGNORECASE)
_MIXTURE = re.compile(r"Experts|Moe|MoE|Router")


def blocks(lm: LanguageModel) -> dict[str, nn.Module]:
    """The transformer blocks by module path, in order; block b yields layer b + 1.

    They are the outermost list of modules as long as the model has layers; ValueError when that is not one list.
    """
    depth = lm.model.config.get_text_config().num_hidden_layers
    lists = {path: part for path, part in lm.model.named_modules() if isinstance(part, nn.ModuleList)}
    fitting = [path for path, part in lists.items() if len(part) == depth]
    outermost = [path for path in fitting if not any(path.startswith(f"{other}.") for other in fitting)]
    if len(outermost) != 1:
        found = ", ".join(f"{path} ({len(part)})" for path, part in lists.items())
        fact = f"{len(outermost)} module lists as long as its {depth} layers"
        raise ValueError(f"{lm.name}: {fact}; lists found: {found or 'none'}")
    (path,) = outermost
    return {f"{path}.{number}": block for number, block in lists[path].named_children()}


def sites(lm: LanguageModel) -> dict[str, nn.Module]:
    """The MLP Linears (`nn.Linear` or `Conv1D`) of all blocks by module path, in model order.

    They are the Linears outside a block's attention: in gated MLPs gate, up and down, elsewhere the two dense maps.
    Their outputs come before the activation function. ValueError for a mixture of experts, whose units fire on routed
    tokens only, and for blocks without the expected parts; it lists what was found.
    """
    found = {}
    for path, block in blocks(lm).items():
        inside = {f"{path}.{name}": part for name, part in block.named_modules() if name}
        linears = [name for name, part in inside.items() if isinstance(part, nn.Linear | Conv1D)]
        mlp = [name for name in linears if not _ATTENTION.search(name.removeprefix(path))]
        shown = ", ".join(f"{name}: {type(part).__name__}" for name, part in inside.items())
        mixture = _MIXTURE.search(shown)
        if mixture or not 2 <= len(mlp) < len(linears):
            reason = "is a mixture of experts" if mixture else "has not both attention and two MLP Linears"
            raise ValueError(f"{lm.name}: {path} {reason}; use a dense transformer. Modules found: {shown}")
        found |= {name: inside[name] for name in mlp}
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
    if getattr(states, "ndim", None) != 3:
        got = getattr(states, "shape", type(states))
        raise ValueError(f"expected hidden states [sentence, token, unit], got {got}")
    return states
