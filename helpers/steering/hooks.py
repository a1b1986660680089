"""Edits put into a model, while it runs (`steered`) or into its weights (`folded`), and into files; no fitting.

The strength, any finite number, interpolates between an output and its image under each edit: 0 is untouched, 1 the
edit.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import ModelOutput

from helpers.common import store
from helpers.common.lookup import known
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks, hidden, width
from helpers.steering.edits import Edit, LowRank, check_width, linear, mover, numbers, precise

KINDS = {"Edit": Edit, "LowRank": LowRank}
Edits = Sequence[Edit | LowRank]


@contextmanager
def steered(lm: LanguageModel, edits: Edits, strength: float = 1.0) -> Iterator[LanguageModel]:
    """`lm`, its edits in force inside the `with`; on leaving, also by an exception, it is as before, bit for bit.

    Edits of one site apply in list order, nested contexts after those around them. ValueError: a strength that is not
    finite, units that the site lacks and, on leaving, an edit that never fired. LookupError: no such site.
    """
    hooks = {site: _Hook(part, strength) for site, part in _checked(lm, edits, strength).items()}
    with ExitStack() as stack:
        for site, hook in hooks.items():
            stack.callback(_attached(lm.model.get_submodule(site), hook))
        yield lm
    silent = [site for site, hook in hooks.items() if not hook.fired]
    if silent:  # not reached when an exception is on its way
        fact = f"{len(silent)} of {len(hooks)} sites never fired ({', '.join(silent)})"
        raise ValueError(f"{fact}; run the model, uncompiled, in the with")


def folded(lm: LanguageModel, edits: Edits, strength: float = 1.0) -> LanguageModel:
    """A model whose Linears hold the edits in their weights, at no cost to run; the rest is shared.

    A Linear without a bias gets one where it must. Where the configuration has no switch for it (Llama's `mlp_bias`),
    saving is refused, since the model would come back without. ValueError names sites that are no Linear, quantised,
    offloaded, or that share their weight.
    """
    groups = _checked(lm, edits, strength)
    if any(_hooks(part) for part in lm.model.modules()):
        raise ValueError(f"{lm.name} is being steered; leave the with before folding")
    for site in groups:
        _refuse_unfoldable(lm.model, site)
    # New modules and a new configuration with all their bonds, in which every tensor is the old tensor.
    model = copy.deepcopy(lm.model, {id(tensor): tensor for tensor in chain(lm.model.parameters(), lm.model.buffers())})
    for site, part in groups.items() if strength else ():
        _fold(model.get_submodule(site), part, strength)
    _declare_biases(model, set(model.state_dict()) - set(lm.model.state_dict()))
    return replace(lm, model=model)


def save(edits: Mapping[str, Edits], path: Path | str) -> Path:
    """The path, now holding lists of edits by name, as safetensors with the sites in its metadata."""
    listed = [[name, [[type(edit).__name__, edit.site] for edit in part]] for name, part in edits.items()]
    flat = enumerate(chain.from_iterable(edits.values()))
    arrays = {f"{number}.{name}": values for number, edit in flat for name, values in numbers(edit).items()}
    return store.write_arrays(Path(path), arrays, provenance={"edits": listed})


def load(path: Path | str) -> dict[str, Edits]:
    """The lists of edits by name of a file written by `save`."""
    listed = store.read_provenance(Path(path)).get("parameters", {}).get("edits")
    if listed is None:
        raise ValueError(f"{path} holds no edits; write them with steering.save()")
    arrays, place = {}, count()
    for key, values in store.read_arrays(Path(path)).items():
        number, name = key.split(".")
        arrays.setdefault(int(number), {})[name] = values
    return {name: [KINDS[kind](site, **arrays[next(place)]) for kind, site in part] for name, part in listed}


@dataclass(eq=False)
class _Hook:
    """The edits of one site in one context, made ready for the kind of output when it is first met.

    A Linear's output is fresh and as yet nobody else's: without gradients it is edited in place.
    """

    edits: list
    strength: float
    fired: bool = False
    movers: dict = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        self.fired, fresh = True, type(module) in (nn.Linear, Conv1D)
        before = states = hidden(output)
        kind = states.device, states.dtype
        if kind not in self.movers:  # at strength 0 not even -0.0 changes
            self.movers[kind] = [mover(edit, self.strength, states) for edit in self.edits if self.strength]
        for move in self.movers[kind]:
            states = move(states, (fresh or states is not before) and not torch.is_grad_enabled())
        return output if states is before else _rebuilt(output, states)


def _attached(module: nn.Module, hook: _Hook) -> Callable:
    """Put the hook after those of contexts around it, and before all others, which see its output; return its end."""
    handle = module.register_forward_hook(hook)
    for number in reversed(_hooks(module)):
        module._forward_hooks.move_to_end(number, last=False)
    return handle.remove


def _hooks(module: nn.Module) -> list[int]:
    return [number for number, hook in module._forward_hooks.items() if isinstance(hook, _Hook)]


def _rebuilt(output: Any, states: Tensor) -> Any:
    """The output with other hidden states: a tensor, a tuple, or a model output."""
    if isinstance(output, Tensor):
        return states
    if isinstance(output, ModelOutput):
        return type(output)(**{**output, next(iter(output)): states})
    return (states, *output[1:])


def _checked(lm: LanguageModel, edits: Edits, strength: float) -> dict[str, list]:
    """Site -> its edits in list order, each of which fits its module."""
    if not isinstance(strength, Real) or not math.isfinite(strength):
        raise ValueError(f"strength {strength!r} is not a finite number; 0 is untouched, 1 is the edit")
    parts = dict(lm.model.named_modules())
    sizes = dict.fromkeys(blocks(lm), lm.model.config.get_text_config().hidden_size) if edits else {}
    groups = {}
    for edit in edits:
        part = parts[known(edit.site, parts, f"site of {lm.name}")]
        size = width(part) if isinstance(part, nn.Linear | Conv1D) else sizes.get(edit.site)
        if size:
            check_width(edit, size)
        groups.setdefault(edit.site, []).append(edit)
    return groups


def _refuse_unfoldable(model: PreTrainedModel, site: str) -> None:
    """Raise ValueError unless a weight of the site's own can hold its edits."""
    part = model.get_submodule(site)
    if not isinstance(part, nn.Linear | Conv1D):
        raise ValueError(f"no weight can hold edits of {site}, a {type(part).__name__}; use steered() for it")
    if not part.weight.is_floating_point() or part.weight.is_meta:
        raise ValueError(f"the weight of {site} is quantised or offloaded; use steered() for it")
    weights = (weight for other in model.modules() for weight in other.parameters(recurse=False))
    if sum(weight is part.weight for weight in weights) > 1:
        raise ValueError(f"{site} shares its weight with another module; use steered() for it")


def _fold(module: nn.Module, edits: Edits, strength: float) -> None:
    """Give the module a weight and a bias of its own; of an edit, only the linear part moves a column of a weight."""
    old, turned = module.weight.detach(), isinstance(module, nn.Linear)
    columns = (old.T if turned else old).to(precise(old.dtype))
    bias = columns.new_zeros(1, columns.shape[1]) if module.bias is None else module.bias.detach().to(columns)[None]
    for edit in edits:
        columns = mover(linear(edit), strength, columns)(columns, False)
        bias = mover(edit, strength, bias)(bias, False)
    trained = module.weight.requires_grad
    module.weight = nn.Parameter((columns.T if turned else columns).to(old.dtype).contiguous(), trained)
    if module.bias is not None or bias.any():
        module.bias = nn.Parameter(bias[0].to(old.dtype), trained)


def _declare_biases(model: PreTrainedModel, added: set[str]) -> None:
    """Let the configuration make the biases `added`, and zeros for others of the same switch, or refuse saving."""
    config, there = model.config.get_text_config(), set(model.state_dict())
    for switch in [name for name, value in vars(config).items() if "bias" in name and value is False and added]:
        setattr(config, switch, True)
        with torch.device("meta"):  # names and shapes without values
            made = type(model)(copy.deepcopy(model.config)).state_dict()
        if added <= set(made):
            for name in set(made) - there:
                module = model.get_submodule(name.removesuffix(".bias"))
                module.bias = nn.Parameter(module.weight.new_zeros(made[name].shape), module.weight.requires_grad)
            return
        setattr(config, switch, False)

    def refuse(*args: Any, **options: Any) -> None:
        fact = f"{len(added)} biases have no place in this model's configuration: {', '.join(sorted(added)[:5])}"
        raise ValueError(f"{fact}; save the edits with steering.save() and fold or steer again")

    if added:
        model.save_pretrained = refuse
