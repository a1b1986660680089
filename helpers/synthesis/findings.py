"""What pairs of languages show in three views, in sentences."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.common.stats import OFF, span, verdict


def planted(found: pd.DataFrame, expected: Mapping[tuple[str, str], float]) -> str:
    """What `synthesis.answers` finds in `planted.pairs`, beside what was put there."""
    parts = []
    for row in found.itertuples():
        truth = expected[row.outcome, row.predictor]
        inside = "holds" if row.low <= truth <= row.high else "misses"
        parts.append(
            f"{row.predictor} with {row.outcome}: {row.r:+.2f} raw, **{row.partial_r:+.2f}** [{row.low:+.2f}, "
            f"{row.high:+.2f}] beyond what is held fixed; planted {truth:+.2f}, which the interval {inside}"
        )
    return "; ".join(parts) + "."


def answered(found: pd.DataFrame, predictor: str, expected: str) -> str:
    """For which outcomes a predictor tells more than what is given, from `synthesis.answers`.

    `expected` is the side of 0, "above" or "below", that the question asks about; a claim has to be `sure`.
    """
    yes, other, none, mute = [], [], [], []
    for row in found[found["predictor"].str.startswith(f"{predictor}@")].itertuples():
        if pd.isna(row.partial_r):
            mute.append(row.outcome)
        elif row.sure:
            said = (
                f"{row.outcome}, partial r **{row.partial_r:+.2f}** [{row.low:+.2f}, {row.high:+.2f}] over languages, "
                f"[{row.low_family:+.2f}, {row.high_family:+.2f}] over families, Holm p {row.holm:.3f} "
                f"(raw {row.r:+.2f})"
            )
            (yes if verdict(row.low, row.high) == expected else other).append(said)
        else:
            none.append(f"{row.outcome} ({row.partial_r:+.2f}; raw {row.r:+.2f})")
    way = {"above": "more of it goes with more", "below": "more of it goes with less"}
    parts = [(way[expected], yes), (way[({*OFF} - {expected}).pop()], other)]
    parts += [("nothing established beyond what is given", none), ("cannot be asked, since it does not vary", mute)]
    return "\n".join(f"- **{predictor}**, {name}: {'; '.join(rows)}" for name, rows in parts if rows)


def reliable(again: pd.DataFrame) -> str:
    """How well a predictor agrees with itself on other sentences, from `synthesis.reliability`."""
    parts = [f"{row.quantity} {row.r:+.2f} (it varies over pairs by {row.spread:.3f})" for row in again.itertuples()]
    return "Measured again on other sentences, a predictor correlates with itself over pairs: " + "; ".join(parts) + "."


def helped(
    relations: pd.DataFrame, kin: pd.DataFrame, level: pd.DataFrame, contrasts: pd.DataFrame, best: pd.DataFrame
) -> str:
    """Whom steering helps: by the language steered to, by kinship, by where the pair stood; and the best pairs.

    Tables of `synthesis.pair_means` by (units, toward), (units, kin) and (units, level), of `contrasts` and of
    `most_helped`.
    """
    lines = [
        f"- {title}: {'; '.join(_group(part, name) for name, part in table.groupby('units', sort=False))}"
        for title, table in (("steered to the pair's", relations), ("by kinship", kin), ("by retrieval before", level))
    ]
    said = [
        f"{row.contrast} {row.value:+.3f} {span(row.low, row.high)}, families {span(row.low_family, row.high_family)}, "
        f"{_both(row)} 0"
        for row in contrasts.itertuples()
    ]
    lines.append(f"- differences: {'; '.join(said)}")
    named = [
        f"{row.target} from {row.source} ({row.chosen:+.2f}, then {row.held_out:+.2f})" for row in best.itertuples()
    ]
    lines.append(f"- most helped, and then on sentences that did not choose them: {', '.join(named)}")
    lines.append(
        "- ns: not told apart from 0 by both intervals, the one over languages (shown) and the one over families"
    )
    return "\n".join(lines)


def causes(table: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """What matters most by intervention and by correlation, from `causes.beside` and `causes.agreement`."""
    lines, kinds = [], {"sibling": "pairs with a sibling", "itself": "pairs with its original"}
    for row in agreement.itertuples():
        part = table[(table["kin"] == row.kin) & (table["outcome"] == row.outcome)].set_index("change")
        found = part[part["cause_sure"]].sort_values("cause_rank")
        named = [f"{change} {x.effect:+.2f} [{x.low:+.2f}, {x.high:+.2f}]" for change, x in found.iterrows()]
        claim = ", ".join(f"{change} (r {part.r[change]:+.2f})" for change in filter(None, row.claim.split(", ")))
        lines.append(
            f"- **{row.outcome}**, {kinds[row.kin]}: {', '.join(named) or 'no effect found'}; by correlation first: "
            f"{claim or 'none'}{f'; **{row.first}**' if row.first else ''}"
        )
    for kin, part in table.groupby("kin", sort=False):
        counts = ", ".join(f"{name} {count}" for name, count in part["verdict"].value_counts().items())
        rows = agreement[(agreement["kin"] == kin) & (agreement["first"] != "")]
        first = ", ".join(f"{name} {count}" for name, count in rows["first"].value_counts().items())
        real, right = part[part["r_sure"]], part["verdict"].str.startswith("agree: it matters")
        lines.append(
            f"- **{kinds[kin]}**, {len(part)} cases: {counts}. Of {len(real)} significant correlations {right.sum()} "
            "go with an effect of the same direction. Which property comes first, in "
            f"{len(rows)} outcomes where both say: {first or 'none'}."
        )
    return "\n".join(lines)


def left_out(names: Sequence[str], kept: Sequence[str], why: str) -> str:
    """Which of the names are not among those kept, and why; empty where all are."""
    gone = [name for name in names if name not in set(kept)]
    return f"Left out, {why}: {', '.join(gone)}." if gone else ""


def _group(part: pd.DataFrame, units: str) -> str:
    label = [name for name in ("toward", "kin", "level") if name in part][0]
    said = ", ".join(
        f"{getattr(row, label)} {row.value:+.3f} {span(row.low, row.high)}{'' if _both(row) in OFF else ' ns'}"
        f"{' (one family only)' if np.isnan(row.low_family) else ''}"
        for row in part.dropna(subset="value").itertuples()
    )
    return f"{units}: {said}"


def _both(row: NamedTuple) -> str:
    """The verdict against 0 that the interval over languages and the one over families both allow."""
    return verdict(np.minimum(row.low, row.low_family), np.maximum(row.high, row.high_family))
