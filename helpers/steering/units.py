"""Units: what is chosen, mapped and drawn unit by unit, from responses, one array [sentence, unit] per site, to tables.

A table[site, unit, scale, shift] is one `Edit` per site; `methods` makes interventions of it.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy.special import entr

from helpers.steering.edits import Edit

KEYS = ["site", "unit"]
STILL = 1e-4  # units that deviate less are left alone by transports, as in ml-act, and drawn by no control
_LEVEL, _SHARE = 0.95, 0.01  # of `entropy`, as published
_CHUNK = 1024  # units widened to float64 at a time


def edits(rows: pd.DataFrame) -> list[Edit]:
    """One edit per site from table[site, unit, scale, shift]."""
    parts = rows.groupby("site", sort=False)
    return [Edit(site, *(part[column].to_numpy() for column in ("unit", "scale", "shift"))) for site, part in parts]


def table(edits: list[Edit]) -> pd.DataFrame:
    """table[site, unit, scale, shift] of a list of edits."""
    parts = [pd.DataFrame(vars(edit)) for edit in edits]
    return pd.concat(parts, ignore_index=True).rename(columns={"units": "unit"})


def pieces(responses: Mapping[str, np.ndarray], chosen: pd.DataFrame | None = None) -> Iterator[tuple]:
    """Site, units, and their responses [sentence, unit] in float64, of all units or the chosen, in bounded pieces."""
    for site, array in responses.items():
        units = np.arange(array.shape[1]) if chosen is None else chosen.loc[chosen["site"] == site, "unit"].to_numpy()
        for start in range(0, len(units), _CHUNK):
            part = units[start : start + _CHUNK]
            yield site, part, array.T[part].T.astype(np.float64)


def moments(responses: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """table[site, unit, mean, std] of every unit over all sentences."""
    parts = (dict(site=site, unit=units, mean=x.mean(0), std=x.std(0)) for site, units, x in pieces(responses))
    return pd.concat(map(pd.DataFrame, parts), ignore_index=True)


def shifted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each unit that take the mean of x to that of y, both [sentence, unit] (Mean-AcT)."""
    return np.ones(x.shape[1]), y.mean(0) - x.mean(0)


def gaussian(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each unit that take mean and deviation of x to those of y (Gaussian-AcT)."""
    scale = y.std(0, ddof=1) / x.std(0, ddof=1)
    return scale, y.mean(0) - scale * x.mean(0)


def regression(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each unit by least squares of sorted y on sorted x (Linear-AcT, Rodriguez et al. 2025).

    x counts at as many quantiles as y has sentences: at its own values where there are equally many.
    """
    y = np.sort(y, axis=0)
    x = np.quantile(x, (np.arange(len(y)) + 0.5) / len(y), axis=0, method="hazen")
    x_mean, y_mean = x.mean(0), y.mean(0)
    scale = ((x - x_mean) * (y - y_mean)).sum(0) / ((x - x_mean) ** 2).sum(0)
    return scale, y_mean - scale * x_mean


def entropy(k: int | None, positive: Mapping[str, np.ndarray], labels) -> pd.DataFrame:
    """table[language, site, unit, entropy] of units that are positive for few languages only, lowest entropy first.

    `positive` holds shares of positive tokens; a unit fires for a language when its share is above the 95 % quantile
    of all. Of the units that fire, the 1 % of all units with the lowest entropy over languages is kept or, with k, the
    k lowest of each language. Language activation probability entropy of Tang et al. 2024, on all MLP Linears: the sign
    before an activation function is the sign after it.
    """
    codes, languages = pd.factorize(np.asarray(labels))
    own = np.eye(len(languages))[codes] / np.bincount(codes)
    shares = np.concatenate([own.T @ array for array in positive.values()], axis=1)  # [language, unit of the model]
    fires = shares > np.quantile(shares, _LEVEL)
    with np.errstate(invalid="ignore"):
        values = np.where(fires.any(0), entr(shares / shares.sum(0)).sum(0), np.inf)
    order = np.argsort(values, kind="stable")
    order = order if k else order[: round(_SHARE * len(order))]
    keys = [(site, unit) for site, array in positive.items() for unit in range(array.shape[1])]
    found = pd.DataFrame(keys, columns=KEYS).assign(entropy=values)
    parts = {name: found.iloc[order[row[order]][:k]] for name, row in zip(languages, fires)}
    return pd.concat(parts, names=["language"]).reset_index("language").reset_index(drop=True)


def elsewhere(given: list[Edit], model: pd.DataFrame, *, matched: bool, own: bool = False, seed: int = 0) -> list[Edit]:
    """The edits on as many other units of the model, table[site, unit, mean, std], none of them edited or still.

    Drawn from the whole model with the same scales and shifts; or, `matched`, from the same sites (others once a site
    is used up) and each moved from its own mean by as many of its own deviations. `own`: each set to its own mean
    instead. ValueError: too few other units.
    """
    edited, rng = table(given), np.random.default_rng(seed)
    old = edited.merge(model, on=KEYS)
    if len(old) < len(edited):
        raise ValueError(f"only {len(old)} of the edited units are among the {len(model)} of the model's sites")
    free = model.merge(old[KEYS], "left", indicator="edited").query("edited == 'left_only' and std > @STILL")
    if len(old) > len(free):
        raise ValueError(f"{len(old)} units are edited but only {len(free)} others vary; edit fewer, or shuffle labels")
    free = free.iloc[rng.permutation(len(free))].reset_index(drop=True)
    old = old.iloc[rng.permutation(len(old))].reset_index(drop=True)
    new = (_within_sites(old, free) if matched else free[: len(old)]).assign(scale=old["scale"], shift=old["shift"])
    if own:
        new = new.assign(scale=0.0, shift=new["mean"])
    elif matched:
        change = ((old["scale"] - 1) * old["mean"] + old["shift"]) / old["std"].where(old["std"] > STILL, 1.0)
        new["shift"] = new["mean"] * (1 - old["scale"]) + new["std"] * change
    return edits(new.sort_values(KEYS))


def _within_sites(old: pd.DataFrame, free: pd.DataFrame) -> pd.DataFrame:
    """One free unit for each old one, of the same site as long as there is one."""
    keys = ([part["site"], part.groupby("site").cumcount()] for part in (old, free))
    places, offered = map(pd.MultiIndex.from_arrays, keys)
    number = offered.get_indexer(places)
    number[number < 0] = np.setdiff1d(free.index, number)[: (number < 0).sum()]
    return free.iloc[number].reset_index(drop=True)
