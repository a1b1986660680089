"""The Chromium that the browser tests drive: Playwright's own or the system's; none is installed here."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

FLAGS = """
    --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
""".split()  # noqa: SIM905
BRING = "playwright install chromium, or apt-get install chromium"


@contextlib.contextmanager
def launched() -> Iterator:
    """A headless Chromium; the test is skipped, with the command that would bring one, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install -e '.[test]'")
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        names = ("chromium", "chromium-browser", "google-chrome")
        path = own if Path(own).exists() else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip(f"no Chromium here; bring one: {BRING}")
        started = driver.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield started
        started.close()
