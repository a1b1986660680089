"""Study B: ABX discrimination of form and meaning over layers and checkpoints.

`scores` scores one set of embeddings, `profiles` a model or a series. A variant is one entry of
`scoring.VARIANTS`, a probe one task in `probes`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scoring": ["scores"],
    },
)
