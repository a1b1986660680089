"""Edits: affine maps of one module's output, on units (`Edit`) or on directions (`LowRank`), as values.

Overwriting, damping, transport, adding a direction and erasure are lists of these; `hooks` puts them into a model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FEW = 32  # up to a 32nd of a width, units are gathered and written back; beyond, rescaling all of it is quicker


@dataclass(frozen=True, eq=False)
class Edit:
    """Units of one site become `scale * h + shift`: scale 0 overwrites them, shift 0 rescales them.

    `site` is a module path, `units` are distinct; `scale` and `shift` are one number or one per unit, kept in float64.
    """

    site: str
    units: Tensor
    scale: Tensor | float
    shift: Tensor | float

    def __post_init__(self) -> None:
        units = _tensor(self.units).long()
        if units.ndim != 1 or len(units.unique()) < len(units) or (units < 0).any():
            raise ValueError(f"{self.site}: units {units.tolist()} must be distinct, from 0 up, in one list")
        object.__setattr__(self, "units", units)
        _settle(self, scale=units.shape, shift=units.shape)


@dataclass(frozen=True, eq=False)
class LowRank:
    """The output h of one site becomes `h + (h - mean) A B' + v`, with A and B [hidden, rank], mean and v [hidden].

    `site` is the path of a block or a Linear. A = -B with orthonormal columns projects out; LEACE is oblique, so A and
    B may differ; A = 0, or of rank 0, adds the direction v. `mean` and `v` may be one number. Kept in float64.
    """

    site: str
    A: Tensor
    B: Tensor
    mean: Tensor | float = 0.0
    v: Tensor | float = 0.0

    def __post_init__(self) -> None:
        shape, other = tuple(np.shape(self.A)), tuple(np.shape(self.B))
        if len(shape) != 2 or shape != other:
            raise ValueError(f"{self.site}: A {shape} but B {other}; both are [hidden, rank]")
        _settle(self, A=shape, B=shape, mean=shape[:1], v=shape[:1])


AnyEdit = Edit | LowRank


def numbers(edit: AnyEdit) -> dict[str, Tensor]:
    """The edit's tensors by name: all but its site."""
    return {name: values for name, values in vars(edit).items() if name != "site"}


def linear(edit: AnyEdit) -> AnyEdit:
    """The edit without its constant part: what it does to differences, and to the columns of a weight."""
    return replace(edit, shift=0.0) if isinstance(edit, Edit) else replace(edit, mean=0.0, v=0.0)


def precise(dtype: torch.dtype) -> torch.dtype:
    """The type to compute in: float32 for half precision, which is rounded once."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def check_width(edit: AnyEdit, size: int) -> None:
    """Raise ValueError unless the edit fits outputs of `size` units."""
    if isinstance(edit, Edit) and len(edit.units) and edit.units.max() >= size:
        raise ValueError(f"{edit.site}: unit {edit.units.max()} but it has {size} units, 0 to {size - 1}")
    if isinstance(edit, LowRank) and len(edit.A) != size:
        raise ValueError(f"{edit.site}: directions of width {len(edit.A)} but outputs of width {size}; refit the edit")


def mover(edit: AnyEdit, strength: float, like: Tensor) -> Callable:
    """A function `move(h, own)` from outputs h [..., unit], of the kind of `like`, to `h + strength * change`.

    With `own` it may write into h. Half precision is computed in float32 and rounded once.
    """
    size, ready = like.shape[-1], partial(torch.Tensor.to, device=like.device, dtype=precise(like.dtype))
    check_width(edit, size)
    if isinstance(edit, LowRank):
        A, v = strength * edit.A, strength * edit.v
        turn = tuple(map(ready, (-edit.mean @ A, A, edit.B.T))) if A.any() else None
        return partial(_directions, turn, ready(v) if v.any() else None)  # looked at once: on a GPU every look waits
    scale, shift = 1 + strength * (edit.scale - 1), strength * edit.shift
    if _FEW * len(edit.units) <= size:
        return partial(_few, edit.units.to(like.device), ready(scale), ready(shift))
    scale = torch.ones(size, dtype=scale.dtype).index_copy(0, edit.units, scale)
    return partial(_many, ready(scale), ready(torch.zeros_like(scale).index_copy(0, edit.units, shift)))


def _few(units: Tensor, scale: Tensor, shift: Tensor, h: Tensor, own: bool) -> Tensor:
    moved = torch.addcmul(shift, h.index_select(-1, units).to(scale.dtype), scale).to(h.dtype)
    return h.index_copy_(-1, units, moved) if own else h.index_copy(-1, units, moved)


def _many(scale: Tensor, shift: Tensor, h: Tensor, own: bool) -> Tensor:
    if own and h.dtype == scale.dtype:
        return torch.addcmul(shift, h, scale, out=h)
    return torch.addcmul(shift, h.to(scale.dtype), scale).to(h.dtype)


def _directions(turn: tuple | None, v: Tensor | None, h: Tensor, own: bool) -> Tensor:
    moved = h.reshape(-1, h.shape[-1]).to(precise(h.dtype))
    if turn is not None:
        offset, A, B = turn
        moved = torch.addmm(moved, torch.addmm(offset, moved, A), B)
    return (moved if v is None else moved + v).to(h.dtype).view(h.shape)


def _tensor(values: Any) -> Tensor:
    """A float64 copy on the CPU."""
    values = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, np.float64))
    return values.detach().cpu().to(torch.float64, copy=True)


def _settle(edit: AnyEdit, **shapes: tuple) -> None:
    """Give a frozen edit its numbers as finite float64 tensors of the given shapes."""
    for name, shape in shapes.items():
        values = _tensor(getattr(edit, name))
        if values.ndim and values.shape != shape:
            raise ValueError(f"{edit.site}: {name} {tuple(values.shape)} but {tuple(shape)} is wanted; give one or all")
        if bad := int((~values.isfinite()).sum()):
            raise ValueError(f"{edit.site}: {bad} of {values.numel()} numbers in {name} are not finite")
        object.__setattr__(edit, name, values.expand(shape).contiguous())
