"""The kernel of a headless run: this very interpreter, over sockets of its own, ended for certain by Ctrl-C.

Papermill and its company are imported where a kernel starts, since a run that is complete needs none.
"""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from tqdm import tqdm

from helpers.common import store

SHORT = "/tmp" if os.name == "posix" else None  # a folder for sockets, whose paths must stay below 104 characters
_STARTED: WeakSet = WeakSet()  # the kernels of this process
_STOPPED = threading.Event()
_log = logging.getLogger(__name__)


def execute(source: Path, partial: Path, given: Mapping, home: Path, environment: Mapping[str, str], scratch: Path):
    """The executed notebook, every code cell complete, also at `partial`; the kernel starts in `home`.

    RuntimeError, with cell and error, where one is not: the notebook as far as it came is kept as `.failed.ipynb`.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill.translators").setLevel(logging.ERROR)  # its reader of parameters is not used here
    # papermill fills {} in paths, so those of a folder's own name are doubled
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, partial)]
    options = {"kernel_name": "python3", "language": "python", "start_timeout": 120, "store_widget_state": False}
    options |= {"parameters": dict(given), "kernel_manager_class": kind(scratch, home, environment)}
    try:
        with store.room_for(partial), headings(source) as reached:
            options |= {"progress_bar": False, "on_cell_start": reached}
            # in a thread: an interrupt may get lost in a callback of the event loop, and reaches the main thread only
            with ThreadPoolExecutor(1) as thread, interruptible():
                book = thread.submit(papermill.execute_notebook, *paths, **options).result()
    except papermill.PapermillExecutionError as error:
        raise _failure(partial, error.cell_index, f"{error.ename}: {error.evalue}") from None
    except DeadKernelError:
        cells = nbformat.read(partial, as_version=4).cells
        started = [index for index, cell in enumerate(cells) if cell.metadata.papermill.start_time]
        why = "the kernel was killed, most often for lack of memory; ask for fewer languages, layers, units or workers"
        last = (scratch / "kernel.log").read_text(errors="replace").strip()[-300:]
        raise _failure(partial, started[-1], f"{why}\n{last}".strip()) from None
    for index, cell in enumerate(book.cells):
        if cell.cell_type == "code" and cell.metadata.papermill.status != "completed":
            raise _failure(partial, index, "the notebook left early (sys.exit?); let it run to its last cell")
    return book


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


def kind(scratch: Path, home: Path, environment: Mapping[str, str]) -> type:
    """The class of kernels for one run: this very interpreter, whatever kernelspecs say, started in `home`.

    `environment` is added to this process'; sockets and log lie in `scratch`: over TCP, kernels that start together
    take each other's ports now and then.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class Kernel(AsyncKernelManager):
        kernel_spec = KernelSpec(**get_kernel_dict())

        def __init__(self, **options: object):
            transport = {"transport": "ipc"} if os.name == "posix" else {}
            super().__init__(connection_file=str(scratch / "kernel.json"), **transport, **options)

        async def start_kernel(self, **options: object) -> None:
            # the folder is given here because papermill's own cwd would move this whole process
            with open(scratch / "kernel.log", "wb") as log:
                told = {"cwd": str(home), "env": os.environ | dict(environment)}
                await super().start_kernel(**told, stdout=log, stderr=log, **options)
            _STARTED.add(self)
            if _STOPPED.is_set():
                _end_kernels()

    return Kernel


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, which the main thread alone hears, ends every kernel of this process, and what is done in here."""
    if threading.current_thread() is threading.main_thread():
        _STOPPED.clear()
    try:
        yield
    except KeyboardInterrupt:
        _STOPPED.set()
        logging.getLogger("asyncio").addFilter(_unexpected)
        _end_kernels()
        raise
    except Exception:
        if _STOPPED.is_set():
            raise KeyboardInterrupt from None
        raise


def _end_kernels() -> None:
    for kernel in list(_STARTED):
        with suppress(ProcessLookupError, AttributeError):  # ended, or about to
            os.kill(kernel.provisioner.process.pid, signal.SIGTERM)


def _unexpected(record: logging.LogRecord) -> bool:
    """False for the death of a kernel that was told to stop, which the event loop reports when nobody awaits it."""
    return not record.exc_info or record.exc_info[0].__name__ != "DeadKernelError"


def _failure(partial: Path, index: int, why: str) -> RuntimeError:
    failed = partial.with_name(partial.name.replace(".partial.", ".failed."))
    os.replace(partial, failed)
    name = failed.name.removesuffix(".failed.ipynb")
    return RuntimeError(f"{name} failed in cell {index}, {why}\nThe notebook as far as it came: {failed}")
