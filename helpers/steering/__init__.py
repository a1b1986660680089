"""Study A: experts of a language, edits of a model, and what edits do.

`auroc` ranks units, `fit` makes any method's edits, `steered` applies them, `effects` measures. A method is one
function in `METHODS`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparison": ["catalogue", "compare", "paraphrased", "written"],
        "experts": ["auroc", "average_precision", "overlap", "tested", "top"],
        "findings": ["answer"],
        "fitting": ["Fitting"],
        "hooks": ["Edit", "LowRank", "folded", "save", "steered"],
        "measuring": ["along", "effects"],
        "methods": ["METHODS", "fit"],
    },
)
