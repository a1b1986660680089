"""What a model makes of sentences: states, responses of units, retrieval, maps.

`embed` and `responses` give `Activations`, `top1` scores retrieval, `maps` lays states out in the plane. Change a
pooling in `activations`, a retrieval score in `retrieval`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "activations": ["Activations", "embed", "outputs", "responses", "words"],
        "batching": ["token_counts"],
        "projection": ["maps", "trustworthiness"],
        "retrieval": ["correct", "distances", "per_sentence", "top1"],
        "streams": ["headroom"],
    },
)
