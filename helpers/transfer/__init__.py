"""Study C: every language to every other, and which similarity predicts it.

`grid` trains on every source and scores every target, `correlate` holds `similarity` against it, `choices` prices what
a choice of sources by similarity costs. Add a task in `training`, a measure in `measures`, a rule of choice in
`ranking`, a sentence under a figure in `findings`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "training": ["grid", "run"],
        "measures": ["families", "similarity"],
        "qap": ["correlate", "within_target"],
        "ranking": ["choices", "ndcg", "regret"],
        "twins": ["causes"],
        "findings": ["answer"],
    },
)
