"""A world of artificial languages with an answer key, the small models trained on it, and planted cases.

`build` grows a world, `ensure` trains a mini series once; `wired`, `sliding`, `transfer_case` and `pairs_case` are
cases whose answer is known. Change a world in `growing.Options`, a recipe in `mini`, a case in `planted`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "worlds": ["build"],
        "mini": ["ensure", "training_log"],
        "planted": ["SITE", "pairs_case", "sliding", "transfer_case", "wired"],
    },
)
