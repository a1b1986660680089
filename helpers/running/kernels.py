"""The kernel of a headless run: this very interpreter, over sockets of its own, ended for certain by Ctrl-C."""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError

_SOCKET_ROOM = 60  # characters; a Unix socket's path holds about 104


class Kernel(AsyncKernelManager):
    """This very interpreter as a kernel, whatever kernelspecs say, over sockets in a folder of its own.

    Over TCP, kernels that start together take each other's ports now and then.
    """

    scratch: Path
    home: str
    environment: dict[str, str]
    started: list[int]  # process ids, for whoever has to stop them

    def __init__(self, **options: object):
        transport = {"transport": "ipc"} if os.name == "posix" else {}
        super().__init__(connection_file=str(self.scratch / "kernel.json"), **transport, **options)

    @property
    def kernel_spec(self) -> KernelSpec:
        """What starts this interpreter."""
        return KernelSpec(**get_kernel_dict())

    async def start_kernel(self, **options: object) -> None:
        # the folder is given here because papermill's own cwd would move this whole process
        with open(self.scratch / "kernel.log", "wb") as log:
            home = {"cwd": self.home, "env": os.environ | self.environment}
            await super().start_kernel(**home, stdout=log, stderr=log, **options)
        self.started.append(self.provisioner.pid)


def kind(scratch: Path, home: Path, environment: dict[str, str]) -> type[Kernel]:
    """The class of kernels for one run: sockets and log in `scratch`, started in `home`, `environment` added."""
    own = {"scratch": scratch, "home": str(home), "environment": environment, "started": []}
    return type("Kernel", (Kernel,), own)


def threads(count: int) -> dict[str, str]:
    """Environment variables that give a process and its children so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return dict.fromkeys(names, str(count))


@contextmanager
def interruptible(kernel: type[Kernel]) -> Iterator[None]:
    """Ctrl-C ends the run for certain: the exception alone can get lost in a callback of the event loop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = []

    def stop(*_: object) -> None:
        asked.append(True)
        logging.getLogger("asyncio").addFilter(_unexpected)
        for process in kernel.started:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except Exception:
        if asked:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _unexpected(record: logging.LogRecord) -> bool:
    """False for the death of a kernel that was told to stop, which the event loop reports when nobody awaits it."""
    return not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))


def short() -> str | None:
    """Folder for sockets, whose paths must stay short; none where the usual one will do."""
    return "/tmp" if os.name == "posix" and len(tempfile.gettempdir()) > _SOCKET_ROOM else None
