"""One voice for a name that is not there: what was asked for, and what is nearest to it."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: object, options: Iterable) -> str:
    """Up to three options most like the name, whatever its case, as text; the first few where none is near."""
    shown = {str(option).casefold(): str(option) for option in options}
    near = get_close_matches(str(name).casefold(), shown, cutoff=0.3) or list(shown)[:10]
    return ", ".join(shown[option] for option in near) or "none, there are no others"


def known(name, options: Iterable, what: str, hint: str = ""):
    """The name, which is one of the options; LookupError with the nearest of them, and a hint, where it is not."""
    options = list(options)
    if name not in options:
        raise LookupError(f"no {what} {name!r}; did you mean {nearest(name, options)}?{f' {hint}' if hint else ''}")
    return name
