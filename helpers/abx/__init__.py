"""Study B: ABX discrimination of form and meaning over layers and checkpoints.

`scores` scores one set of embeddings, `profile_series` every checkpoint of a model, with shares of variance beside;
`controls` asks what could fool a score. A variant is one entry of `scoring.VARIANTS`, a probe a task in `probes.tasks`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scoring": ["form", "meaning", "scores"],
        "profiles": ["closed_forms", "controls", "edited", "profile_series"],
        "probes": ["probe_series"],
        "findings": ["beyond", "declines"],
    },
)
