"""What this machine and this installation can do, and what to do where they fall short.

Each line answers a question that a failed run would raise, with the command that mends it.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from helpers import DATA, HOUSE
from helpers.corpora import loading, registry
from helpers.running import executors

SCRIPTS = {  # a letter of each script that the corpora are written in
    "Latin": "a", "Greek": "α", "Cyrillic": "я", "Armenian": "ա", "Georgian": "ა", "Hebrew": "א", "Arabic": "ع",
    "Devanagari": "अ", "Bengali": "অ", "Tamil": "அ", "Thai": "ก", "Ethiopic": "አ", "Chinese": "中", "Japanese": "あ",
    "Korean": "한",
}  # fmt: skip
_GIB = 2**30
_ROOM = 5 * _GIB  # a mini model, its runs and a small model of the hub
_HELD = 20 * _GIB


def examine() -> pd.DataFrame:
    """Table [what, verdict, found, advice], a row for each thing looked at; verdict is ok, note or wrong."""
    checks = (_packages, _extras, _threads, _memory, _accelerator, _disk, _caches, _fonts, _hub, _corpora)
    rows = [(check.__name__[1:], *check()) for check in checks]
    table = pd.DataFrame(rows, columns=["what", "verdict", "found", "advice"])
    return table.assign(advice=table["advice"].where(table["verdict"] != "ok", ""))


def _packages() -> tuple[str, str, str]:
    """Installed packages against the versions that the tests passed with; only what the package asks for counts."""
    pinned = _pinned(HOUSE / "constraints.txt")
    asked = [re.split(r"[^\w.-]", line)[0] for line in importlib.metadata.requires("isogloss") if "extra" not in line]
    versions = {name: _version(name) for name in asked}
    if missing := [name for name in asked if not versions[name]]:
        return "wrong", f"missing: {', '.join(missing)}", "pip install -c constraints.txt -e ."
    tested = {name: pinned.get(_plain(name), versions[name]) for name in asked}
    other = [f"{n} {versions[n]} (tested: {tested[n]})" for n in asked if versions[n].partition("+")[0] != tested[n]]
    if other:
        return "note", f"not as tested: {', '.join(other)}", "if something fails: pip install -c constraints.txt -e ."
    return "ok", f"Python {sys.version.split()[0]} and {len(asked)} packages as in constraints.txt", ""


def _extras() -> tuple[str, str, str]:
    wanted = {"distributed": "cluster", "dask_jobqueue": "cluster", "cryptography": "cluster", "urielplus": "typology"}
    missing = sorted({extra for name, extra in wanted.items() if not _version(name)})
    mend = f"if you need it: pip install -c constraints.txt -e '.[{','.join(missing)}]'"
    return ("note", f"without {', '.join(missing)}", mend) if missing else ("ok", "cluster and typology", "")


def _threads() -> tuple[str, str, str]:
    cores, asked = executors.cores(), os.environ.get("OMP_NUM_THREADS", "")
    found = f"{asked or 'as many threads as cores'} for {cores} cores"
    if asked in ("", str(cores)):
        return "ok", found, ""
    more = f"more threads than cores slow each other down: export OMP_NUM_THREADS={cores}"
    return "note", found, more if asked.isdigit() and int(asked) > cores else "unset OMP_NUM_THREADS for a single run"


def _memory() -> tuple[str, str, str]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    verdict = "ok" if total >= 4 * _GIB else "note"
    return verdict, _size(total), "below 4 GiB choose fewer languages, or a smaller model"


def _accelerator() -> tuple[str, str, str]:
    """The GPUs that the driver names; whether torch was built for them is read from its files, not by importing it."""
    if not shutil.which("nvidia-smi"):
        return "note", "none", "the mini model needs none; models beyond 1 B parameters want a GPU"
    ask = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(ask, capture_output=True, text=True).stdout.strip().replace("\n", "; ") or "no GPU answers"
    built = Path(importlib.util.find_spec("torch").origin).with_name("version.py").read_text(encoding="utf-8")
    if re.search(r"^cuda.*= None$", built, re.M):
        mend = "install a torch built for it: https://pytorch.org/get-started/locally"
        return "wrong", f"{found}, but torch {_version('torch')} was built without CUDA", mend
    return "ok", found, ""


def _disk() -> tuple[str, str, str]:
    place = next(folder for folder in (DATA, *DATA.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return "wrong", f"{place} cannot be written", "export ISOGLOSS_HOME=/a/folder/of/yours"
    verdict = "ok" if free >= _ROOM else "wrong"
    return verdict, f"{_size(free)} free at {place}", f"free {_size(_ROOM)}, or export ISOGLOSS_HOME=/a/larger/disk"


def _caches() -> tuple[str, str, str]:
    from huggingface_hub import constants

    places = {name: DATA / name for name in ("sources", "cache", "results")} | {"hub": Path(constants.HF_HUB_CACHE)}
    sizes = {name: _held(place) for name, place in places.items()}
    verdict = "ok" if sum(sizes.values()) <= _HELD else "note"
    found = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items())
    return verdict, found, "all but the hub's can be deleted and made again: make clean; hf cache prune"


def _fonts() -> tuple[str, str, str]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    found = set()
    for path in {font.fname for font in font_manager.fontManager.ttflist}:
        try:
            letters = FT2Font(path).get_charmap()
        except (OSError, RuntimeError):
            continue
        found |= {script for script, letter in SCRIPTS.items() if ord(letter) in letters}
    missing = [script for script in SCRIPTS if script not in found]
    mend = "figures would show boxes; install Noto fonts, such as: apt install fonts-noto fonts-noto-cjk"
    return ("note", f"none for {', '.join(missing)}", mend) if missing else ("ok", f"all {len(SCRIPTS)} scripts", "")


def _hub() -> tuple[str, str, str]:
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    found = "off (HF_HUB_OFFLINE)" if offline else "on: models that are not here are downloaded"
    return "note" if offline else "ok", found, "before going offline: python -m helpers prefetch ID"


def _corpora() -> tuple[str, str, str]:
    there = [name for name in registry.CORPORA if any((place / name).is_dir() for place in loading.folders())]
    fetch = "python -m helpers fetch sib200 --languages eng_Latn,deu_Latn"
    return "ok" if there else "note", f"the built-in world{''.join(f', {name}' for name in there)}", fetch


def _pinned(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").split() if path.is_file() else []
    return {_plain(name): version for name, _, version in (line.partition("==") for line in lines)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _held(folder: Path) -> int:
    """Bytes in a folder, links not followed."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _size(size: float) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB / 10 else f"{size / 2**20:.0f} MiB"
