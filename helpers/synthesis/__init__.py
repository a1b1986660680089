"""The three views of a pair of languages, joined.

`answers` says which view predicts which beyond what is given. A question is one row of `questions`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "questions": ["answers"],
    },
)
