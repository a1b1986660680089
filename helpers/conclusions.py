"""What the synthesis shows, in sentences: tables in, text out, verdicts following from intervals and Holm's p alone."""

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.stats import verdict

_WAY = {"above": "more", "below": "less"}


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

    `expected` is the side of 0, "above" or "below", that the question asks about; claims need Holm's p under 5 % and
    both intervals, over languages and over families, off 0.
    """
    rows, said = found[found["predictor"].str.startswith(f"{predictor}@")], {"yes": [], "the reverse": [], "no": []}
    for row in rows.itertuples():
        if pd.isna(row.partial_r):
            said.setdefault("cannot be asked (it does not vary)", []).append(row.outcome)
            continue
        ways = {verdict(row.low, row.high), verdict(row.low_family, row.high_family)}
        sure = row.holm < 0.05 and len(ways) == 1 and ways <= set(_WAY)
        key = "no" if not sure else "yes" if ways == {expected} else "the reverse"
        said[key].append(
            f"{row.outcome} ({row.partial_r:+.2f} [{row.low:+.2f}, {row.high:+.2f}], families [{row.low_family:+.2f}, "
            f"{row.high_family:+.2f}], Holm p {row.holm:.3f}; raw {row.r:+.2f})"
        )
    return "\n".join(f"- **{predictor}**, {key}: {'; '.join(names)}" for key, names in said.items() if names)


def reliable(again: pd.DataFrame) -> str:
    """How well a predictor agrees with itself on other sentences, from `synthesis.reliability`."""
    parts = [f"{row.quantity} {row.r:+.2f} (it varies over pairs by {row.spread:.3f})" for row in again.itertuples()]
    return "Measured again on other sentences, a predictor correlates with itself over pairs: " + "; ".join(parts) + "."


def helped(relations: pd.DataFrame, kin: pd.DataFrame, level: pd.DataFrame, best: pd.DataFrame) -> str:
    """Whom steering helps: by the language steered to, by kinship, by where the pair stood; and the best pairs.

    Tables of `synthesis.pair_means` by (units, toward), (units, kin) and (units, level); `best` of `most_helped`.
    """
    lines = [
        f"- {title}: {'; '.join(_group(part, name) for name, part in table.groupby('units', sort=False))}"
        for title, table in (("steered to the pair's", relations), ("by kinship", kin), ("by retrieval before", level))
    ]
    named = [
        f"{row.target} from {row.source} ({row.chosen:+.2f}, then {row.held_out:+.2f})" for row in best.itertuples()
    ]
    pairs = ", ".join(named)
    lines.append(f"- most helped, and then on sentences that did not choose them: {pairs}")
    return "\n".join(lines)


def causes(table: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """What each property causes and what correlation claimed, from `causes.beside` and `causes.agreement`."""
    lines = []
    for outcome, rows in table.groupby("outcome", sort=False):
        said = [
            f"{row.change} {row.effect:+.2f} [{row.low:+.2f}, {row.high:+.2f}] (r {row.r:+.2f}, {row.verdict})"
            for row in rows.sort_values("cause_rank").itertuples()
        ]
        one = agreement.set_index("outcome").loc[outcome]
        same = "the same property first" if one["first"] else "another property first"
        lines.append(f"- **{outcome}**: {'; '.join(said)}. Correlation puts {same} (rank correlation {one.rho:+.2f}).")
    counts = table["verdict"].value_counts()
    total = ", ".join(f"{name} in {count}" for name, count in counts.items())
    first = int(agreement["first"].sum())
    lines.append(
        f"- Over {len(table)} cases: {total}. Correlation names the property that matters most for {first} of "
        f"{len(agreement)} outcomes."
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
        f"{'' if verdict(row.low, row.high) in _WAY else ' (not distinguishable from 0)'}"
        for row in part.itertuples()
    )
    return f"{units}: {said}"
