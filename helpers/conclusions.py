"""What the synthesis shows, in sentences: tables in, text out, verdicts following from intervals and Holm's p alone."""

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.stats import verdict

_OFF = ("above", "below")  # verdicts of an interval that does not hold 0


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
    parts = [(way[expected], yes), (way[({*_OFF} - {expected}).pop()], other)]
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
        f"{row.contrast} {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}], families [{row.low_family:+.3f}, "
        f"{row.high_family:+.3f}], {verdict(row.low, row.high)} 0"
        for row in contrasts.itertuples()
    ]
    lines.append(f"- **differences**: {'; '.join(said)}")
    named = [
        f"{row.target} from {row.source} ({row.chosen:+.2f}, then {row.held_out:+.2f})" for row in best.itertuples()
    ]
    lines.append(f"- most helped, and then on sentences that did not choose them: {', '.join(named)}")
    return "\n".join(lines)


def causes(table: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """What matters most by intervention and by correlation, from `causes.beside` and `causes.agreement`."""
    lines, kinds = [], {"sibling": "pairs with a sibling", "itself": "pairs with its original"}
    for row in agreement.itertuples():
        part = table[(table["kin"] == row.kin) & (table["outcome"] == row.outcome)].set_index("change")
        found = part[part["cause_sure"]].sort_values("cause_rank")
        named = [f"{change} {x.effect:+.2f} [{x.low:+.2f}, {x.high:+.2f}]" for change, x in found.iterrows()]
        claim = f"{row.claim} (r {part.r[row.claim]:+.2f})" if row.claim else "none"
        same = "" if not row.cause else ", the same" if row.claim == row.cause else ", not the same"
        lines.append(
            f"- **{row.outcome}**, {kinds[row.kin]}: {', '.join(named) or 'no effect found'}; by correlation first: "
            f"{claim}{same}"
        )
    for kin, part in table.groupby("kin", sort=False):
        counts = ", ".join(f"{name} {count}" for name, count in part["verdict"].value_counts().items())
        rows = agreement[(agreement["kin"] == kin) & (agreement["cause"] != "")]
        first = int((rows["cause"] == rows["claim"]).sum())
        lines.append(
            f"- **{kinds[kin]}**, {len(part)} cases: {counts}. Of {len(rows)} outcomes with an effect, correlation "
            f"names the property that matters most in {first}."
        )
    return "\n".join(lines)


def left_out(names: Sequence[str], kept: Sequence[str], why: str) -> str:
    """Which of the names are not among those kept, and why; empty where all are."""
    gone = [name for name in names if name not in set(kept)]
    return f"Left out, {why}: {', '.join(gone)}." if gone else ""


def _group(part: pd.DataFrame, units: str) -> str:
    label = [name for name in ("toward", "kin", "level") if name in part][0]
    said = ", ".join(
        f"{getattr(row, label)} {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        f"{'' if verdict(row.low, row.high) in _OFF else ' (not distinguishable from 0)'}"
        for row in part.itertuples()
    )
    return f"{units}: {said}"
