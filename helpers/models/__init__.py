"""Language models at a revision, from a folder, a mini series or the hub.

`load` returns a `LanguageModel`; `checkpoints` lists a series; `blocks` and `sites` find a model's parts by their
structure. Support for a model family is in `parts`, for a place that models come from in `hub`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hub": ["checkpoints"],
        "loading": ["LanguageModel", "duplicates", "identity", "load", "prefetch"],
        "parts": ["blocks", "sites"],
    },
)
