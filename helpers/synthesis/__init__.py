"""The three views of a pair of languages, joined: experts and steering, ABX, transfer.

`views` measures every pair, `join` puts the views side by side, `answers` says which predicts which beyond what is
given, `helped` whom steering helps, `causes` what a property of a language does, by intervention. A question is one
`Question`, made in `questions.ask`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dyads": ["views"],
        "questions": ["answers", "ask", "join"],
        "gains": ["helped"],
        "twins": ["causes"],
        "findings": ["answered", "planted_case"],
    },
)
