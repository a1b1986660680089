"""One voice for a name that is not there: what was asked for, and what is nearest to it."""

from collections.abc import Iterable
from difflib import get_close_matches


def known(name, options: Iterable, what: str):
    """The name, which is one of the options; LookupError naming the nearest of them where it is not."""
    options = list(options)
    if name not in options:
        shown = [str(option) for option in options]
        near = get_close_matches(str(name), shown, cutoff=0.3) or shown[:10]
        raise LookupError(f"no {what} {name!r}; did you mean {', '.join(near)}?")
    return name
