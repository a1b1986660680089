"""Language models at a revision, from a folder, a mini series or the hub.

`load` returns a `LanguageModel`; `checkpoints` lists a series. Support for a model family is `blocks` and `sites`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading": [
            "DTYPES",
            "LanguageModel",
            "blocks",
            "duplicates",
            "hidden",
            "identity",
            "load",
            "prefetch",
            "sites",
            "weights_hash",
            "width",
        ],
        "hub": ["checkpoints"],
    },
)
