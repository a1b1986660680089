"""Where a run is: a line at each heading of its notebook or, on a terminal, one bar."""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

_log = logging.getLogger(__name__)


class _Lines(logging.Handler):
    """Messages as lines above any bar, on whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        tqdm.write(self.format(record), file=sys.stderr)


def tell() -> None:
    """Put the package's messages of progress on stderr, with the time of day; without this call it is quiet."""
    log, lines = logging.getLogger("helpers"), _Lines()
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.setLevel(logging.INFO)
    log.handlers[:] = [lines]


@contextmanager
def headings(source: Path) -> Iterator[Callable]:
    """What nbclient calls at each cell of a notebook, to tell its heading and the seconds that came before it.

    Only a run that is alone in its process, and has a terminal, shows a bar: those of several would overwrite another.
    """
    started, alone = time.time(), threading.current_thread() is threading.main_thread()
    with tqdm(desc=source.stem, unit="cell", leave=False, disable=None if alone else True) as bar:

        def reached(cell: dict, cell_index: int) -> None:
            heading = re.match(r"#+ (.+)", cell["source"] if cell["cell_type"] == "markdown" else "")
            if heading and bar.disable:
                _log.info("%s +%.0f s: %s", source.stem, time.time() - started, heading[1])
            elif heading:
                bar.set_postfix_str(heading[1])
            bar.update(cell_index - bar.n)

        yield reached
