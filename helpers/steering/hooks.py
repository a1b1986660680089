"""Interventions: edits put into a model, while it runs or into its weights; the mechanism, no fitting.

One idea: an edit is an affine map of one module's output, and the strength interpolates between an output and its image
under each edit: 0 is untouched, 1 the edit, any finite number is allowed. `steered` applies a list of edits inside a
`with`; `folded` makes a model whose weights hold them.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from inspect import signature
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from transformers.utils import ModelOutput

from helpers.common import store
from helpers.common.lookup import known
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks, hidden, width
from helpers.steering.edits import Edit, LowRank, check_width, mover, numbers
from helpers.steering.folding import check_foldable, declare_biases, fold

TOKENS = ("all", "no_bos", "generated")
KINDS = {"Edit": Edit, "LowRank": LowRank}


@contextmanager
def steered(
    lm: LanguageModel, edits: Sequence[Edit | LowRank], strength: float = 1.0, tokens: str = "all"
) -> Iterator[LanguageModel]:
    """`lm`, its edits in force inside the `with`; on leaving, also by an exception, it is as before, bit for bit.

    Edits of one site apply in list order, nested contexts after those around them. `tokens` "no_bos" spares the first
    real token of each sentence; "generated" edits only tokens after the prompt: those run on a key-value cache or,
    without one, those that extend the first input token by token. ValueError: a strength that is not finite, units
    that the site lacks, a compiled model and, on leaving, an edit that never fired. LookupError: no such site.
    """
    groups = _checked(lm, edits, strength)
    known(tokens, TOKENS, "tokens")
    base = lm.model.base_model
    positions = None if tokens == "all" else _Positions(tokens, base.forward)
    parts = {site: _Part(part, strength, positions) for site, part in groups.items()}
    with ExitStack() as stack:
        if positions is not None:
            stack.callback(base.register_forward_pre_hook(positions, with_kwargs=True).remove)
        for site, part in parts.items():
            stack.callback(_attached(lm.model.get_submodule(site), part))
        yield lm
    silent = [site for site, part in parts.items() if not part.fired]
    if silent:  # not reached when an exception is on its way
        hint = "generate from the model" if tokens == "generated" else "run the model"
        raise ValueError(f"{len(silent)} of {len(parts)} sites never fired ({', '.join(silent)}); {hint} in the with")


def folded(lm: LanguageModel, edits: Sequence[Edit | LowRank], strength: float = 1.0) -> LanguageModel:
    """A model whose Linears hold the edits, of all tokens, in their weights, at no cost to run; the rest is shared.

    A Linear without a bias gets one where it must. Where the configuration has a switch for it (Llama's `mlp_bias`) the
    switch is set, and the Linears that come with it get zeros; elsewhere saving is refused, since the model would come
    back without the bias. ValueError names sites that are no Linear, quantised, offloaded, or that share their weight.
    """
    groups = _checked(lm, edits, strength)
    if any(_hook(part) for part in lm.model.modules()):
        raise ValueError(f"{lm.name} is being steered; leave the with before folding")
    check_foldable(lm.model, groups)
    # New modules and a new configuration with all their bonds, in which every tensor is the old tensor.
    model = copy.deepcopy(lm.model, {id(tensor): tensor for tensor in chain(lm.model.parameters(), lm.model.buffers())})
    for site, part in groups.items() if strength else ():
        fold(model.get_submodule(site), part, strength)
    declare_biases(model, set(model.state_dict()) - set(lm.model.state_dict()))
    return replace(lm, model=model)


def save_model(lm: LanguageModel, folder: Path | str) -> Path:
    """The folder, now holding model and tokenizer for `models.load`; ValueError where they would not reload equal."""
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return Path(folder)


def save(edits: Sequence | Mapping[str, Sequence], path: Path | str, *, provenance: Mapping | None = None) -> Path:
    """The path, now holding a list of edits, or several by name, as safetensors with the sites in its metadata."""
    lists = list(edits.items()) if isinstance(edits, Mapping) else [(None, edits)]
    listed = [[name, [[type(edit).__name__, edit.site] for edit in part]] for name, part in lists]
    flat = enumerate(chain.from_iterable(part for _, part in lists))
    arrays = {f"{number}.{name}": values for number, edit in flat for name, values in numbers(edit).items()}
    return store.write_arrays(Path(path), arrays, provenance={**(provenance or {}), "edits": listed})


def load(path: Path | str) -> list[Edit | LowRank] | dict[str, list[Edit | LowRank]]:
    """The edits of a file written by `save`, as the list, or the dict of lists, that was saved."""
    listed = store.read_provenance(Path(path)).get("parameters", {}).get("edits")
    if listed is None:
        raise ValueError(f"{path} holds no edits; write them with interventions.save()")
    arrays: dict[str, dict] = {}
    for key, values in store.read_arrays(Path(path)).items():
        number, name = key.split(".")
        arrays.setdefault(number, {})[name] = values
    count = iter(range(len(arrays)))
    lists = {name: [KINDS[kind](site, **arrays[str(next(count))]) for kind, site in part] for name, part in listed}
    return lists.get(None, lists)


# --- steering ---------------------------------------------------------------------------------------------------------


class _Positions:
    """Which tokens of the running forward pass may move; a pre-hook of the base model, which sees its arguments."""

    def __init__(self, kind: str, forward: Callable) -> None:
        self.kind, self.signature = kind, signature(forward)
        self.prompt, self.length = None, 0
        self.where: Tensor | bool | None = None

    def __call__(self, module: nn.Module, args: tuple, options: dict) -> None:
        given = self.signature.bind(*args, **options).arguments
        tokens = given.get("input_ids")
        tokens = given["inputs_embeds"] if tokens is None else tokens
        cache = given.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        columns = torch.arange(past, past + tokens.shape[1], device=tokens.device)
        choose = self._spared if self.kind == "no_bos" else self._generated
        self.where = True if past and self.kind == "generated" else choose(columns, tokens, given.get("attention_mask"))

    def _spared(self, columns: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """All but the first real token, [sentence, token, 1], whatever the side of the padding."""
        if mask is not None and mask.ndim != 2:
            raise ValueError(f"tokens='no_bos' with an attention mask {tuple(mask.shape)}; pass it [sentence, token]")
        first = tokens.new_zeros(len(tokens), dtype=torch.long) if mask is None else mask.bool().int().argmax(1)
        return (columns != first.to(columns.device)[:, None])[..., None]

    def _generated(self, columns: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor | bool:
        """What follows the prompt: the first input, which later ones extend; used only where there is no cache."""
        start = 0 if self.prompt is None else self.prompt.shape[1]
        longer = self.prompt is not None and tokens.shape[1] == self.length + 1
        grown = longer and torch.equal(tokens[:, :start], self.prompt)
        self.length = tokens.shape[1]
        self.prompt = self.prompt if grown else tokens
        return (columns >= start)[None, :, None] if grown else False


@dataclass(eq=False)
class _Part:
    """The edits of one site in one context, made ready for the kind of output when it is first met."""

    edits: list
    strength: float
    positions: _Positions | None
    fired: bool = False
    movers: dict = field(default_factory=dict)

    def __call__(self, states: Tensor, own: bool) -> Tensor:
        where = True if self.positions is None else self.positions.where
        if where is False:
            return states
        self.fired = True
        if where is not True and where.shape[1] != states.shape[1]:
            raise ValueError(f"{where.shape[1]} tokens but {states.shape[1]} in {self.edits[0].site}; use tokens='all'")
        kind, where = (states.device, states.dtype), None if where is True else where.to(states.device)
        if kind not in self.movers:  # at strength 0 not even -0.0 changes
            self.movers[kind] = [mover(edit, self.strength, states) for edit in self.edits if self.strength]
        for move in self.movers[kind]:
            states = move(states, own, where)
        return states


class _Hook:
    """One hook per module, before any other, so that all others see the edited output; contexts stack up in it.

    A Linear's output is fresh and as yet nobody else's: without gradients it is edited in place.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parts: list[_Part] = []
        self.fresh = type(module) in (nn.Linear, Conv1D)
        self.handle = module.register_forward_hook(self, prepend=True)

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        before = states = hidden(output)
        for part in self.parts:
            own = (self.fresh or states is not before) and not torch.is_grad_enabled()
            states = part(states, own)
        return output if states is before else _rebuilt(output, states)


def _hook(module: nn.Module) -> _Hook | None:
    return next((hook for hook in module._forward_hooks.values() if isinstance(hook, _Hook)), None)


def _attached(module: nn.Module, part: _Part) -> Callable[[], None]:
    """A function that takes the part, put in force here, out again."""
    hook = _hook(module) or _Hook(module)
    hook.parts.append(part)

    def detach() -> None:
        hook.parts.remove(part)
        if not hook.parts:
            hook.handle.remove()

    return detach


def _rebuilt(output: Any, states: Tensor) -> Any:
    """The output with other hidden states: a tensor, a tuple of any kind, or a model output."""
    if isinstance(output, Tensor):
        return states
    if isinstance(output, ModelOutput):
        return type(output)(**{**output, next(iter(output)): states})
    return (states, *output[1:]) if type(output) is tuple else type(output)._make((states, *output[1:]))


# --- checks -----------------------------------------------------------------------------------------------------------


def _checked(lm: LanguageModel, edits: Sequence[Edit | LowRank], strength: float) -> dict[str, list]:
    """Site -> its edits in list order, each of which fits its module."""
    if not isinstance(strength, Real) or not math.isfinite(strength):
        raise ValueError(f"strength {strength!r} is not a finite number; 0 is untouched, 1 is the edit")
    parts = dict(lm.model.named_modules())
    if any(_is_compiled(part) for part in parts.values()):
        raise ValueError(f"{lm.name} is compiled, and hooks of a compiled model do nothing; pass the model uncompiled")
    stream = dict.fromkeys(blocks(lm), lm.model.config.get_text_config().hidden_size) if edits else {}
    groups: dict[str, list] = {}
    for edit in edits:
        known(edit.site, parts, f"site of {lm.name}")
        if isinstance(parts[edit.site], nn.Linear | Conv1D):
            check_width(edit, width(parts[edit.site]))
        elif edit.site in stream:
            check_width(edit, stream[edit.site])
        groups.setdefault(edit.site, []).append(edit)
    return groups


def _is_compiled(part: nn.Module) -> bool:
    wrapped = hasattr(part, "_orig_mod") or hasattr(part.forward, "_torchdynamo_orig_callable")
    return wrapped or getattr(part, "_compiled_call_impl", None) is not None
