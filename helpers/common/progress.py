"""Progress for the person who watches, and for nobody else: bars, and lines above them."""

import logging
import os
import sys
from collections.abc import Iterable
from types import SimpleNamespace

from tqdm.auto import tqdm

_shown: list[tqdm] = []  # the bar begun last; a closed one counts as disabled


def progress(iterable: Iterable | None = None, label: str = "", total: int | None = None, done: int = 0) -> tqdm:
    """A bar over the items, or one to `update` by hand towards `total`, `done` of which were there before.

    One bar at a time: work inside a watched loop shows none. Headless runs, and a stderr that is no screen, show none.
    """
    hidden = bool(os.environ.get("ISOGLOSS_RUN")) or any(not bar.disable for bar in _shown)
    bar = tqdm(iterable, label, total, initial=done, leave=False, disable=hidden or None)
    if not bar.disable:
        _shown[:] = [bar]
    return bar


def tell() -> None:
    """Put the package's messages of progress on stderr, with the time of day; without this call it is quiet."""
    log, above = logging.getLogger("helpers"), lambda text: tqdm.write(text, file=sys.stderr, end="")
    lines = logging.StreamHandler(SimpleNamespace(write=above))  # whatever stderr is at that moment
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.setLevel(logging.INFO)
    log.handlers[:] = [lines]
