"""What pairs of languages show in three views: one sentence, and a small table where one is worth it."""

import pandas as pd

from helpers.common.stats import span
from helpers.synthesis.questions import Question, answers
from helpers.world import planted

_KIN = {"sibling": "a sibling", "itself": "the original"}
_SHOWN = ["outcome", "predictor", "r", "partial_r", "low", "high"]


def planted_case(*, seed: int = 0) -> tuple[str, pd.DataFrame]:
    """What `answers` finds in `planted.pairs_case`: a sentence, and a table with the planted partial correlations."""
    made, families, expected = planted.pairs_case(seed=seed)
    given = {"transfer": ("similarity",), "after": ("similarity", "before")}
    asked = [Question(outcome, predictor, given[outcome]) for outcome, predictor in expected]
    found = answers(made, asked, families, permutations=199, seed=seed)[_SHOWN].assign(planted=list(expected.values()))
    inside = found["planted"].between(found["low"], found["high"])
    return f"**{inside.sum()} of {len(found)} planted answers lie in their intervals.**", found


def answered(found: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """How many outcomes go up and down with a predictor, beyond what is given, and the rows that say so."""
    parts = []
    for name, part in found.groupby(found["predictor"].str.partition("@")[0], sort=False):
        asked, clear = part["partial_r"].notna().sum(), part[part["significant"]]["partial_r"]
        parts.append(f"{name} {(clear > 0).sum()} and {(clear < 0).sum()} of {asked}")
    table = found[found["significant"]][[*_SHOWN, "low_family", "high_family", "holm"]]
    return f"**Outcomes that go up and down with a predictor, beyond what is given: {', '.join(parts)}.**", table


def gains(differences: pd.DataFrame, best: pd.DataFrame) -> str:
    """Whether experts help more than random units and whether it matters who is steered to, and the best pair."""
    said = [
        f"{row.contrast} {row.value:+.3f} {span(row.low, row.high)}, {'' if row.significant else 'not '}significant"
        for row in differences.itertuples()
    ]
    row = best.iloc[0]
    lucky = f"{row.target} from {row.source} gains {row.chosen:+.2f} where it was chosen, {row.held_out:+.2f} elsewhere"
    return f"**{'; '.join(said).capitalize()}. {lucky}.**"


def causes(compared: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """How many significant correlations go with an effect of the same direction; and which change comes first.

    table[kin, outcome, effect, r]: by each, the changes that may matter most, largest first: the largest that is
    significant, and those whose intervals reach into its own. A correlation agrees with an effect of opposite sign.
    """
    parts, rows = [], []
    for kin, part in compared[compared["r_significant"]].groupby("kin", sort=False):
        right = part["verdict"].str.startswith("agree").sum()
        parts.append(f"{right} of {len(part)} where the source is {_KIN[kin]}")
    for key, part in compared.groupby(["kin", "outcome"], sort=False):
        cause = _leaders(part[part["cause_significant"]], "effect", ["low", "high"])
        rows.append((*key, cause, _leaders(part[part["r_significant"]], "r", ["r_low", "r_high"])))
    said = "Significant correlations that go with an effect of the same direction: "
    table = pd.DataFrame(rows, columns=["kin", "outcome", "effect", "r"])
    return f"**{said}{', '.join(parts) or 'none is significant'}.**", table


def _leaders(part: pd.DataFrame, column: str, ends: list[str]) -> str:
    """The changes, largest first, whose intervals reach into that of the largest; all have intervals off 0."""
    part = part.iloc[part[column].abs().argsort()[::-1]]
    least, most = part[ends].abs().min(axis=1), part[ends].abs().max(axis=1)
    return ", ".join(f"{row.change} {row[column]:+.2f}" for _, row in part[most >= least.iloc[:1].sum()].iterrows())
