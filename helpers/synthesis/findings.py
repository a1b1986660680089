"""What pairs of languages show in three views: one sentence, and a small table where one is worth it."""

import pandas as pd

from helpers.common.stats import span
from helpers.synthesis.questions import Question, answers
from helpers.world import planted

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
    """How many outcomes go up and down with a predictor, beyond what is given and beyond family, and the rows."""
    parts = []
    for name, part in found.groupby(found["predictor"].str.partition("@")[0], sort=False):
        asked, clear = part["partial_r"].notna().sum(), part[part["significant"]]["partial_r"]
        parts.append(f"{name} {(clear > 0).sum()} and {(clear < 0).sum()} of {asked}")
    table = found[found["freely"]][[*_SHOWN, "low_family", "high_family", "holm", "holm_family"]]
    said = f"Outcomes that go up and down with a predictor, beyond what is given and beyond family: {', '.join(parts)}"
    return f"**{said}; {(found['freely'] & ~found['significant']).sum()} more hold only freely.**", table


def gains(differences: pd.DataFrame, best: pd.DataFrame) -> str:
    """Whether experts help more than random units and whether it matters who is steered to, and the best pair."""
    said = [
        f"{row.contrast} {row.value:+.3f} {span(row.low, row.high)}, {'' if row.significant else 'not '}significant"
        for row in differences.itertuples()
    ]
    row = best.iloc[0]
    lucky = f"{row.target} from {row.source} gains {row.chosen:+.2f} where it was chosen, {row.held_out:+.2f} elsewhere"
    return f"**{'; '.join(said).capitalize()}. {lucky}.**"
