"""Notebooks without a person: runs, sweeps, reports, and the command line.

Nothing here is science. `cli` is what `python -m helpers` calls.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "runner": ["notebook"],
    },
)
