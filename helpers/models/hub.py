"""Where models come from: a mini series, a local folder or the hub, and the series of checkpoints they hold.

Every name becomes one folder of safetensors, configuration and tokenizer, and a revision; what was downloaded once is
found again without a connection. Steps are read from names and sorted as numbers, phase by phase.
"""

import os
import re
from difflib import get_close_matches
from pathlib import Path

import pandas as pd
from huggingface_hub import constants, list_repo_files, list_repo_refs, snapshot_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from helpers import DATA
from helpers.common.lookup import known

PHASES = ("", "pretrain", "stage", "ext", "lc", "decay", "it")  # the order in which a training passes through them
_STEP = re.compile(
    r"(?P<phase>.*?)(?:^|[-_/])(?P<kind>global_step|step[_-]?|iter_|ext|decay)0*(?P<count>\d+)(?P<k>k?)(?![a-z\d])"
)
_TOKENS = re.compile(r"tokens(\d+)([BT])")
_WITHOUT_WEIGHTS = ("*.json", "tokenizer*", "*.model", "*.txt")


def checkpoints(name: str) -> pd.DataFrame:
    """The checkpoints of a series in training order: table[step, revision, subfolder, phase, tokens, commit].

    Found in a mini series or another folder of step folders, or in the branches and tags (where those name no step: the
    folders) of a hub repository; offline, in what was downloaded. `step` counts updates within a `phase` (`stage2`);
    `tokens` is NA where the name does not tell. Pass `revision` and `subfolder`, or `commit` to pin it, to `load`.
    LookupError where there is no checkpoint.
    """
    local = _local(name)
    if local is not None:
        rows = [_checkpoint(folder.name, folder.name, "", "") for folder in local.iterdir() if _is_model(folder)]
    else:
        refs = _refs(name)
        rows = [_checkpoint(ref, ref, "", commit) for ref, commit in refs.items()]
        if not any(rows):
            rows = [_checkpoint(path, "", path, "") for path in _weight_folders(name)]
    rows = sorted(filter(None, rows), key=lambda row: (_phase_order(row["phase"]), row["step"]))
    if not rows:
        raise LookupError(f"{name} has no checkpoints named by a step; load it as one model with models.load()")
    return pd.DataFrame(rows).astype({"step": int, "tokens": "Float64"})


def locate(name: str, revision: str, subfolder: str, *, weights: bool = True) -> tuple[Path, str]:
    """The local folder of a model, downloaded if need be, and its resolved revision."""
    local = _local(name)
    if local is None:
        return _download(name, revision, subfolder, weights)
    root = local / subfolder
    steps = {folder.name: folder for folder in root.iterdir() if _is_model(folder)} if root.is_dir() else {}
    if not revision and (root / "config.json").exists():
        return root, ""
    numbered = {name: row["step"] for name in steps if (row := _checkpoint(name, name, "", ""))}
    if not steps or not (revision or numbered):
        raise LookupError(f"{root} holds neither config.json nor folders of steps; name a folder that does")
    revision = revision or max(numbered, key=numbered.get)
    known(revision, steps, f"revision of {name}")
    return steps[revision], revision


def is_here(name: str, root: Path) -> bool:
    """Whether a name is that of a folder, from `root`, of a mini series, or of a model in the hub's cache."""
    places = (root / os.path.expanduser(name), DATA / "cache" / "models" / name, _cached(name))
    return any(map(os.path.isdir, places))


def refuse_absent(name: str) -> None:
    """LookupError for a name, of nothing that is here, that cannot be a hub id, or not while the hub is off."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise LookupError(f"no folder {name!r}, and a hub id is OWNER/NAME{_nearest(name)}") from None
    if constants.HF_HUB_OFFLINE:
        move = f"on a connected machine: python -m helpers prefetch {name}"
        raise LookupError(f"no model {name!r} on this machine, and the hub is off{_nearest(name)}; {move}")


def _local(name: str) -> Path | None:
    """The folder that a name stands for on this machine; None when it can only be a hub id."""
    mini = DATA / "cache" / "models" / name
    if re.fullmatch(r"mini[\w.-]*", name) and mini.is_dir():
        return mini
    if name.startswith("mini") and "/" not in name:
        raise LookupError(
            f"no mini model {name!r} yet{_nearest(name)}; if it has a recipe: python -m helpers pretrain {name}"
        )
    return Path(name).expanduser() if Path(name).expanduser().is_dir() else None


def _download(name: str, revision: str, subfolder: str, weights: bool) -> tuple[Path, str]:
    """The snapshot folder of a hub repository at one commit, from the cache where it is complete, and the commit."""
    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [prefix + pattern for pattern in (*_WITHOUT_WEIGHTS, *["*.safetensors"] * weights)]
    try:
        # Copies in other formats lie in folders of their own: only the asked folder is fetched.
        snapshot = snapshot_download(
            name, revision=revision or None, allow_patterns=patterns, ignore_patterns=[f"{prefix}*/*"]
        )
    except (OSError, HFValidationError) as error:
        at = f" at {revision!r}" if revision else ""
        hint = f"no model {name!r}{at} on this machine or the hub{_nearest(name)}"
        raise LookupError(f"{hint}; on a connected machine: python -m helpers prefetch {name} ({error})") from error
    return Path(snapshot) / subfolder, Path(snapshot).name


def _cached(name: str) -> Path:
    """Where the hub's cache keeps a model, whether it does or not."""
    return Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")


def _nearest(name: str) -> str:
    """A hint at the known names most like `name`: mini series and downloaded repositories."""
    minis = [path.name for path in (DATA / "cache" / "models").glob("mini*")]
    cached = [path.name[8:].replace("--", "/") for path in Path(constants.HF_HUB_CACHE).glob("models--*")]
    near = get_close_matches(name, [*minis, *cached], cutoff=0.6)
    return f"; did you mean {', '.join(near)}?" if near else ""


def _refs(name: str) -> dict[str, str]:
    """Branches and tags of a hub repository with their commits; offline, those that were downloaded."""
    try:
        listed = list_repo_refs(name)
        return {ref.name: ref.target_commit for ref in [*listed.branches, *listed.tags]}
    except (OSError, HFValidationError) as error:
        kept = _cached(name) / "refs"
        refs = {path.relative_to(kept).as_posix(): path.read_text() for path in kept.rglob("*") if path.is_file()}
        if not refs:
            raise LookupError(f"no model {name!r} on this machine or the hub{_nearest(name)} ({error})") from error
        return refs


def _weight_folders(name: str) -> list[str]:
    """The folders of a hub repository that hold safetensors; none when the hub cannot be reached."""
    try:
        files = [Path(path) for path in list_repo_files(name)]
    except OSError:
        return []
    return sorted({path.parent.as_posix() for path in files if path.suffix == ".safetensors"})


def _checkpoint(text: str, revision: str, subfolder: str, commit: str) -> dict | None:
    """One row of `checkpoints` read from a name like `stage2-step-40000` or `global_step1000`; None without a step."""
    step, tokens = _STEP.match(text), _TOKENS.search(text)
    if step is None:
        return None
    return {
        "step": int(step["count"]) * (1000 if step["k"] else 1),
        "revision": revision,
        "subfolder": subfolder,
        "phase": step["kind"] if step["kind"] in PHASES else step["phase"],
        "tokens": int(tokens[1]) * {"B": 1e9, "T": 1e12}[tokens[2]] if tokens else None,
        "commit": commit,
    }


def _phase_order(phase: str) -> tuple:
    """A sorting key: phases as training passes through them, their numbers as numbers."""
    rank = next((place for place, start in enumerate(PHASES) if start and phase.startswith(start)), len(PHASES))
    return rank if phase else 0, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", phase)]


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").exists()
