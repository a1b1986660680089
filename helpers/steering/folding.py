"""Folding: edits written into the weights of a Linear, and a configuration that knows the biases this makes.

An affine map of a Linear's output is another Linear. A bias that the architecture does not have would silently vanish
when the model is loaded again, so it is declared in the configuration, or saving is refused.
"""

import copy
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from helpers.steering.edits import Edit, LowRank, linear, mover


def check_foldable(model: PreTrainedModel, sites: Iterable[str]) -> None:
    """Nothing; ValueError naming a site whose edits no weight of its own can hold."""
    weights = [weight for part in model.modules() for weight in part.parameters(recurse=False)]
    for site in sites:
        part = model.get_submodule(site)
        if not isinstance(part, nn.Linear | Conv1D):
            raise ValueError(f"no weight can hold edits of {site}, a {type(part).__name__}; use steered() for it")
        if not part.weight.is_floating_point() or part.weight.is_meta:
            raise ValueError(f"the weight of {site} is quantised or offloaded; use steered() for it")
        if sum(weight is part.weight for weight in weights) > 1:
            raise ValueError(f"{site} shares its weight with another module; use steered() for it")


def fold(module: nn.Module, edits: Sequence[Edit | LowRank], strength: float) -> None:
    """Nothing; the Linear or Conv1D then has a weight and a bias of its own, with the edits in them.

    An edit moves the bias, and its linear part every column of the weight.
    """
    old = module.weight.detach()
    precise = torch.float32 if old.dtype in (torch.bfloat16, torch.float16) else old.dtype
    columns = (old.T if isinstance(module, nn.Linear) else old).to(precise)
    bias = columns.new_zeros(1, columns.shape[1]) if module.bias is None else module.bias.detach().to(precise)[None]
    for edit in edits:
        columns = mover(linear(edit), strength, columns)(columns, False, None)
        bias = mover(edit, strength, bias)(bias, False, None)
    weight = columns.T if isinstance(module, nn.Linear) else columns
    trained = module.weight.requires_grad
    module.weight = nn.Parameter(weight.to(old.dtype).contiguous(), trained)
    if module.bias is not None or bias.any():
        module.bias = nn.Parameter(bias[0].to(old.dtype), trained)


def declare_biases(model: PreTrainedModel, added: set[str]) -> None:
    """Nothing; the model's configuration then makes the biases `added` to its Linears, or saving it is refused by name.

    A switch of the configuration may make more biases than were added: the others are zeros.
    """
    config, known = model.config.get_text_config(), set(model.state_dict())
    for switch in [name for name, value in vars(config).items() if "bias" in name and value is False and added]:
        setattr(config, switch, True)
        shapes = _shapes(model)
        if not added & set(shapes):
            setattr(config, switch, False)
            continue
        added = added - set(shapes)
        for name in set(shapes) - known:
            weight = model.get_submodule(name.removesuffix(".bias")).weight
            zeros = nn.Parameter(weight.new_zeros(shapes[name]), weight.requires_grad)
            model.get_submodule(name.removesuffix(".bias")).bias = zeros
    if added:
        model.save_pretrained = partial(_refuse_saving, sorted(added))


def _shapes(model: PreTrainedModel) -> dict[str, torch.Size]:
    """The names and shapes of the parameters that the model's configuration makes, without making their values."""
    with torch.device("meta"):
        made = type(model)(copy.deepcopy(model.config))
    return {name: values.shape for name, values in made.state_dict().items()}


def _refuse_saving(biases: list[str], *args: Any, **options: Any) -> None:
    raise ValueError(
        f"{len(biases)} biases have no place in this model's configuration and would be lost on reloading: "
        f"{', '.join(biases[:5])}; save the edits with interventions.save() and fold or steer again"
    )
