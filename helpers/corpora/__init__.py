"""Sentences and treebanks of any corpus as long tables.

`load` reads sentences, `treebank` trees, `groups` what belongs together. A new corpus is one reader in `loading`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading": ["annotated", "fetch", "first", "grouping", "groups", "load", "treebank", "world_of"],
    },
)
