"""What this machine and this installation can do, and what to do where they fall short.

One idea: each line is a question that a failed run would raise, asked beforehand, with the command that mends it.
"""

import importlib.metadata
import os
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from helpers import DATA, HOUSE

SCRIPTS = {  # a letter of each script that the corpora are written in
    "Latin": "a", "Greek": "α", "Cyrillic": "я", "Armenian": "ա", "Georgian": "ა", "Hebrew": "א", "Arabic": "ع",
    "Devanagari": "अ", "Bengali": "অ", "Tamil": "அ", "Thai": "ก", "Ethiopic": "አ", "Chinese": "中", "Japanese": "あ",
    "Korean": "한",
}  # fmt: skip
_OLDEST = (3, 11)
_GIB = 2**30
_ROOM = 5 * _GIB  # a mini model, its runs and a small model of the hub
_HELD = 20 * _GIB


def examine() -> pd.DataFrame:
    """Table [what, verdict, found, advice], a row for each thing looked at; verdict is ok, note or wrong."""
    checks = (_python, _packages, _extras, _threads, _memory, _accelerator, _disk, _cache, _fonts, _hub, _corpora)
    rows = [check() for check in checks]
    return pd.DataFrame(rows, columns=["what", "verdict", "found", "advice"])


def _python() -> tuple:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < _OLDEST:
        return "Python", "wrong", found, "install Python 3.11 or newer, then: make PYTHON=/path/to/it"
    return "Python", "ok", found, ""


def _packages() -> tuple:
    """Installed packages against the versions that the tests passed with; only what the package asks for counts."""
    pinned = _pinned(HOUSE / "constraints.txt")
    if not pinned:
        return "packages", "note", "no constraints.txt beside the package", "nothing to compare with"
    lines = [line for line in importlib.metadata.requires("isogloss") or [] if "extra" not in line]
    asked = [re.split(r"[^\w.-]", line)[0] for line in lines]
    versions = {name: _version(name) for name in asked}
    missing = [name for name, version in versions.items() if not version]
    other = [
        f"{name} {version} (tested: {pinned[_plain(name)]})"
        for name, version in versions.items()
        if version and version.partition("+")[0] != pinned.get(_plain(name), version)
    ]
    mend = "pip install -c constraints.txt -e ."
    if missing:
        return "packages", "wrong", f"missing: {', '.join(missing)}", mend
    if other:
        return "packages", "note", f"not as tested: {', '.join(other)}", f"if something fails: {mend}"
    return "packages", "ok", f"{len(asked)} as in constraints.txt", ""


def _extras() -> tuple:
    wanted = {"distributed": "cluster", "dask_jobqueue": "cluster", "cryptography": "cluster", "urielplus": "typology"}
    missing = sorted({extra for name, extra in wanted.items() if not _version(name)})
    if missing:
        mend = f"if you need it: pip install -c constraints.txt -e '.[{','.join(missing)}]'"
        return "extras", "note", f"without {', '.join(missing)}", mend
    return "extras", "ok", "cluster and typology", ""


def _threads() -> tuple:
    import torch  # here, so that Python and packages are judged even where torch does not load

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{torch.get_num_threads()} threads for {cores} cores"
    if torch.get_num_threads() > cores:
        return "threads", "note", found, f"more threads than cores slow each other down: export OMP_NUM_THREADS={cores}"
    if torch.get_num_threads() < cores:
        return "threads", "note", found, "fewer than there are cores; unset OMP_NUM_THREADS for a single run"
    return "threads", "ok", found, ""


def _memory() -> tuple:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "memory", "note", "unknown on this system", "4 GiB are enough for the mini model"
    if total < 4 * _GIB:
        return "memory", "note", _size(total), "little: choose fewer languages, or a smaller model"
    return "memory", "ok", _size(total), ""


def _accelerator() -> tuple:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return "accelerator", "ok", ", ".join(f"{part.name} with {_size(part.total_memory)}" for part in names), ""
    if shutil.which("nvidia-smi"):
        mend = "install a torch built for it: https://pytorch.org/get-started/locally"
        return "accelerator", "wrong", f"nvidia-smi is here, but torch {torch.__version__} sees no GPU", mend
    return "accelerator", "note", "none", "the mini model needs none; models beyond 1 B parameters want a GPU"


def _disk() -> tuple:
    place = next(folder for folder in (DATA, *DATA.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return "disk", "wrong", f"{place} cannot be written", "export ISOGLOSS_HOME=/a/folder/of/yours"
    if free < _ROOM:
        mend = f"free {_size(_ROOM)}, or export ISOGLOSS_HOME=/a/larger/disk"
        return "disk", "wrong", f"{_size(free)} free at {place}", mend
    return "disk", "ok", f"{_size(free)} free at {place}", ""


def _cache() -> tuple:
    from huggingface_hub import constants

    sizes = {name: _held(DATA / name) for name in ("sources", "cache", "results")}
    sizes["hub cache"] = _held(Path(constants.HF_HUB_CACHE))
    found = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items())
    if sum(sizes.values()) > _HELD:
        return (
            "caches",
            "note",
            found,
            "all but the hub cache can be deleted and made again: make clean; hf cache prune",
        )
    return "caches", "ok", found, ""


def _fonts() -> tuple:
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
    if missing:
        mend = "figures would show boxes; install Noto fonts, such as: apt install fonts-noto fonts-noto-cjk"
        return "fonts", "note", f"none for {', '.join(missing)}", mend
    return "fonts", "ok", f"all {len(SCRIPTS)} scripts", ""


def _hub() -> tuple:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        move = "models must be here already; on a connected machine: python -m helpers prefetch ID"
        return "hub", "note", "off (HF_HUB_OFFLINE)", move
    move = "on compute nodes without a network: export HF_HUB_OFFLINE=1, after python -m helpers prefetch ID"
    return "hub", "ok", "on: models that are not here are downloaded", move


def _corpora() -> tuple:
    places = [DATA / "sources", *map(Path, filter(None, [os.environ.get("ISOGLOSS_DATA")]))]
    there = [name for name in ("sib200", "pud", "tatoeba") if any((place / name).is_dir() for place in places)]
    if not there:
        return (
            "corpora",
            "note",
            "the built-in world alone",
            "python -m helpers fetch sib200 --languages eng_Latn,deu_Latn",
        )
    return "corpora", "ok", f"world, {', '.join(there)}", ""


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
