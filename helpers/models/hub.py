"""Where models come from: a mini series, a local folder or the hub, and the series of checkpoints they hold.

Every name becomes a folder and a revision; what was downloaded once is found without a connection. No torch in here.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import pandas as pd
from huggingface_hub import constants, list_repo_files, list_repo_refs, snapshot_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from helpers import DATA, HOUSE
from helpers.common.lookup import known, nearest

SHIPPED = HOUSE / "data" / "models"  # the mini series that come with the workbook
MANIFEST = "manifest.json"  # beside a shipped series: what made it, and the SHA-256 of every file
DTYPES = ("auto", "float32", "bfloat16", "float16")
PHASES = ("pretrain", "stage", "ext", "lc", "decay", "it")  # the order in which a training passes through them
_STEP = re.compile(
    r"(?P<phase>.*?)(?:^|[-_/])(?P<kind>global_step|step[_-]?|iter_|ext|decay)0*(?P<count>\d+)(?P<k>k?)(?![a-z\d])"
)
_TOKENS = re.compile(r"tokens(\d+)([BT])")
_FILES = ("*.safetensors", "*.json", "tokenizer*", "*.model", "*.txt")


def check_place(dtype: str = "auto", device: str = "auto") -> None:
    """Raise LookupError unless the dtype is one of `DTYPES`, ValueError unless the device is named as torch does."""
    known(dtype, DTYPES, "dtype")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device {device!r} is none of auto, cpu, cuda (cuda:1 is the second GPU) or mps")


def checkpoints(name: str) -> pd.DataFrame:
    """The checkpoints of a series in training order: table[step, revision, subfolder, phase, tokens, commit].

    They are the step folders of a local series, or the branches and tags (else the folders) of a hub repository;
    offline, those downloaded. `step` counts within a `phase` (`stage2`); `tokens` is NA where the name does not tell.
    Pass `revision` (or `commit`) and `subfolder` to `load`. LookupError where there is no checkpoint.
    """
    folder = _local(name)
    named = _refs(name) if folder is None else dict.fromkeys(_steps(folder), "")
    rows = [_checkpoint(text, text, "", commit) for text, commit in named.items()]
    if folder is None and not any(rows):
        with suppress(OSError):  # of a hub that cannot be reached
            files = [Path(path) for path in list_repo_files(name) if path.endswith(".safetensors")]
            rows = [_checkpoint(place, "", place, "") for place in sorted({file.parent.as_posix() for file in files})]
    rows = sorted(filter(None, rows), key=lambda row: (_phase_order(row["phase"]), row["step"]))
    if not rows:
        raise LookupError(
            f"{name} has no checkpoints named by a step; a model has its config.json right under its name"
        )
    return pd.DataFrame(rows).astype({"step": int, "tokens": "Float64"})


def locate(name: str, revision: str = "", subfolder: str = "", *, weights: bool = True) -> tuple[Path, str]:
    """The local folder of a model, downloaded if need be, and its resolved revision."""
    folder = _local(name)
    if folder is None:
        return _download(name, revision, subfolder, weights)
    root = folder / subfolder
    if not revision and (root / "config.json").exists():
        return root, ""
    revision = revision or checkpoints(str(root)).revision.iloc[-1]
    step = _steps(root)[known(revision, _steps(root), f"revision of {name}")]
    _refuse_damage(step)
    return step, revision


def sha256(file: Path) -> str:
    """The SHA-256 of a file as 64 hex digits; "none" where there is no file."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "none"


def _refuse_damage(step: Path) -> None:
    """ValueError where a file of a shipped checkpoint is not the one that its manifest lists."""
    manifest = step.parent / MANIFEST
    for file, wanted in (json.loads(manifest.read_text())["files"] if manifest.exists() else {}).items():
        if file.startswith(f"{step.name}/") and (found := sha256(step.parent / file)) != wanted:
            fact = f"{step.parent / file} is damaged: SHA-256 {found}, and {MANIFEST} says {wanted}"
            raise ValueError(f"{fact}; get it again (git checkout {step.parent}) or train it again (make pretrain)")


def is_here(name: str, root: Path) -> bool:
    """Whether a name is that of a mini series, a folder (seen from `root`) or a model in the hub's cache."""
    return _folder(name, root) is not None or _cached(name).is_dir()


def refuse_absent(name: str) -> None:
    """Raise LookupError for a name of nothing here, unless the hub is on and can have a model of that name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise _absent(name, "a hub id is OWNER/NAME") from None
    if constants.HF_HUB_OFFLINE:
        raise _absent(name, "the hub is off")


def series() -> dict[str, Path]:
    """The folders of the mini series here, by name: one that is shipped with the code goes before one trained here."""
    places = [DATA / "cache" / "models", SHIPPED]  # the last found counts
    return {folder.name: folder for place in places for folder in place.glob("mini*") if folder.is_dir()}


def _folder(name: str, root: Path = Path()) -> Path | None:
    """The folder of a mini series, or else the folder named, seen from `root`; None where there is neither."""
    named = root / os.path.expanduser(name)
    return series().get(name) or (named if named.is_dir() else None)


def _local(name: str) -> Path | None:
    """The folder that a name stands for; None when it can only be a hub id, LookupError when not even that."""
    folder = _folder(name)
    if folder is None and name.startswith("mini") and "/" not in name:
        known(name, _here(), "mini model", f"If it has a recipe: python -m helpers pretrain {name}")
    return folder


def _steps(folder: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in folder.glob("*/config.json")}


def _download(name: str, revision: str, subfolder: str, weights: bool) -> tuple[Path, str]:
    """The snapshot folder of a hub repository at one commit, from the cache where it is complete, and the commit."""
    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [prefix + pattern for pattern in _FILES[not weights :]]
    others = f"{prefix}*/*"  # copies in other formats lie in folders of their own
    try:
        snapshot = snapshot_download(name, revision=revision or None, allow_patterns=patterns, ignore_patterns=others)
    except (OSError, HFValidationError) as error:
        raise _absent(name, f"not {revision or 'its newest commit'!r} of it on the hub ({error})") from error
    return Path(snapshot, subfolder), Path(snapshot).name


def _cached(name: str) -> Path:
    """Where the hub's cache keeps a model, whether it does or not."""
    return Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")


def _absent(name: str, why: str) -> LookupError:
    near = f"; did you mean {nearest(name, _here())}?" if _here() else ""
    move = f"on a connected machine: python -m helpers prefetch {name}"
    return LookupError(f"no model {name!r} on this machine, and {why}{near}; {move}")


def _here() -> list[str]:
    """The names of the models on this machine: mini series, and what the hub's cache holds."""
    cached = Path(constants.HF_HUB_CACHE).glob("models--*")
    return [*series(), *(path.name.removeprefix("models--").replace("--", "/") for path in cached)]


def _refs(name: str) -> dict[str, str]:
    """Branches and tags of a hub repository with their commits; offline, those that were downloaded."""
    try:
        listed = list_repo_refs(name)
        return {ref.name: ref.target_commit for ref in [*listed.branches, *listed.tags]}
    except (OSError, HFValidationError) as error:
        kept = _cached(name) / "refs"
        if not kept.is_dir():
            raise _absent(name, f"not on the hub ({error})") from error
        return {path.relative_to(kept).as_posix(): path.read_text() for path in kept.rglob("*") if path.is_file()}


def _checkpoint(text: str, revision: str, subfolder: str, commit: str) -> dict | None:
    """One row of `checkpoints` read from a name like `stage2-step-40000` or `global_step1000`; None without a step."""
    step, tokens = _STEP.match(text), _TOKENS.search(text)
    if step is None:
        return None
    count = int(step["count"]) * (1000 if step["k"] else 1)
    phase = step["kind"] if step["kind"] in PHASES else step["phase"]
    seen = float(tokens[1] + {"B": "e9", "T": "e12"}[tokens[2]]) if tokens else None
    return dict(step=count, revision=revision, subfolder=subfolder, phase=phase, tokens=seen, commit=commit)


def _phase_order(phase: str) -> tuple:
    """A sorting key: phases as training passes through them, their numbers as numbers."""
    rank = next((place for place, start in enumerate(PHASES) if phase.startswith(start)), len(PHASES))
    return rank if phase else -1, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", phase)]
