"""A world of artificial languages with an answer key, and the small models trained on it.

`build` grows a world, `ensure` trains a mini series once, `planted` holds cases whose answer is known. Change an
option in `worlds.Options`, a recipe in `mini`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "worlds": ["build"],
        "mini": ["ensure", "training_log"],
    },
)
