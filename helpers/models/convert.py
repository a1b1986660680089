"""Pickled `.pt` checkpoints become safetensors folders that `from_pretrained` loads.

Some training series are published only as `.pt`. Such a file is read here with `weights_only=True`, in a process of its
own, and never in any other way: a pickle that asks for more than tensors is refused by name.
"""

import argparse
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

from helpers import HOUSE

TOKENIZER_FILES = ("*token*.json", "vocab.*", "merges.txt", "*.model")
FAIRSEQ = re.compile(r"^(?:decoder|encoder)\.(sentence_encoder\.|lm_head\.)")
FAIRSEQ_TO_HF = (  # in this order, on what follows decoder. or encoder.
    (r"^sentence_encoder\.embed_tokens\.", "roberta.embeddings.word_embeddings."),
    (r"^sentence_encoder\.embed_positions\.", "roberta.embeddings.position_embeddings."),
    (r"^sentence_encoder\.(emb_layer_norm|layernorm_embedding)\.", "roberta.embeddings.LayerNorm."),
    (r"^sentence_encoder\.layers\.", "roberta.encoder.layer."),
    (r"\.self_attn\.q_proj\.", ".attention.self.query."),
    (r"\.self_attn\.k_proj\.", ".attention.self.key."),
    (r"\.self_attn\.v_proj\.", ".attention.self.value."),
    (r"\.self_attn\.out_proj\.", ".attention.output.dense."),
    (r"\.self_attn_layer_norm\.", ".attention.output.LayerNorm."),
    (r"\.fc1\.", ".intermediate.dense."),
    (r"\.fc2\.", ".output.dense."),
    (r"\.final_layer_norm\.", ".output.LayerNorm."),
    (r"^lm_head\.weight$", "lm_head.decoder.weight"),
)


def convert(path: Path, out: Path, *, config: Path | None = None, tokenizer: Path | None = None) -> Path:
    """The folder `out`, with the weights of the `.pt` file at `path` as model.safetensors.

    Layouts: a state dict; {"model": state dict}, names of fairseq RoBERTa and XLM-R translated; Composer's {"state":
    {"model": ...}}. `config` is a config.json or a folder with one, `tokenizer` a folder (that of `config` when not
    given); both are copied, and the result must load without a missing weight. The folder appears whole or not at all.
    Raise LookupError for a path that is not there or already taken, ValueError for a file that cannot be converted.
    """
    config = config / "config.json" if config and config.is_dir() else config
    for given in filter(None, (path, config, tokenizer)):
        if not given.exists():
            raise LookupError(f"{given} does not exist; pass the path of a downloaded file or folder")
    if out.exists():
        raise LookupError(f"{out} exists already; remove it or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent.absolute(), prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / out.name  # renamed below: same disk, so at once
        folder.mkdir()
        _copy_settings(folder, config, tokenizer)
        command = [sys.executable, "-m", __name__, str(path.absolute()), str(folder)]
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=HOUSE, env=offline, capture_output=True, text=True)
        if done.returncode:
            reason = done.stdout.strip() or f"exit status {done.returncode}: {done.stderr.strip()[-500:]}"
            raise ValueError(f"{path} was not converted: {reason}")
        folder.rename(out)
    return out


def renamed(state: dict) -> dict:
    """The state dict under Hugging Face names: fairseq's RoBERTa and XLM-R translated, others as they are."""
    if not any(FAIRSEQ.match(name) for name in state):
        return state
    result = {}
    for name, tensor in _thirds(state):
        if FAIRSEQ.match(name) and not name.endswith(".version"):  # no training-time counters and heads of other tasks
            name = name.split(".", 1)[1]
            for pattern, replacement in FAIRSEQ_TO_HF:
                name = re.sub(pattern, replacement, name)
            result[name] = tensor
    words = result.get("roberta.embeddings.word_embeddings.weight")
    if words is not None:  # fairseq has no token types, Hugging Face has one
        result["roberta.embeddings.token_type_embeddings.weight"] = words.new_zeros(1, words.shape[1])
    if "lm_head.bias" in result:
        result["lm_head.decoder.bias"] = result["lm_head.bias"]
    return result


def _thirds(state: dict):
    """All tensors by name; queries, keys and values, which early fairseq keeps in one matrix, each by itself."""
    for name, tensor in state.items():
        stem, cut, kind = name.partition("in_proj_")
        yield from zip((f"{stem}{part}_proj.{kind}" for part in "qkv"), tensor.chunk(3)) if cut else [(name, tensor)]


def _copy_settings(folder: Path, config: Path | None, tokenizer: Path | None) -> None:
    if config:
        shutil.copy(config, folder / "config.json")
    for pattern in TOKENIZER_FILES if config or tokenizer else ():
        for file in (tokenizer or config.parent).glob(pattern):
            shutil.copy(file, folder)


def _load(path: Path):
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # fairseq's arguments: plain attributes
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        code = re.search(r"GLOBAL (\w+(?:\.\w+)+)", str(error))
        if code is None:
            raise ValueError(f"it cannot be read ({str(error).splitlines()[0]}); download it again") from error
        raise ValueError(
            f"its pickle asks for {code[1]}, which may run code. Where you trust the file, save its tensors alone, "
            'torch.save({"model": state_dict}, path), and convert that'
        ) from error


def _state(loaded) -> dict:
    """The state dict inside a loaded checkpoint, under its own names."""
    state = loaded
    for layer in ("state", "model"):
        state = state.get(layer, state) if isinstance(state, dict) else {}
    tensors = {name: values for name, values in dict(state).items() if isinstance(values, torch.Tensor)}
    if not tensors:
        found = sorted(map(str, loaded)) if isinstance(loaded, dict) else type(loaded).__name__
        raise ValueError(f'no state dict found, only {found}; save it as {{"model": state_dict}}')
    composer = "state" in loaded and all(name.startswith("model.") for name in tensors)
    return {name.removeprefix("model." * composer): values for name, values in tensors.items()}


def _check(folder: Path) -> None:
    """Raise ValueError unless the folder loads as its config says, with every weight in place."""
    names = transformers.AutoConfig.from_pretrained(folder).architectures
    if not names:
        raise ValueError('its config names no model class; add "architectures": ["XLMRobertaForMaskedLM"] or the like')
    model, report = getattr(transformers, names[0]).from_pretrained(folder, output_loading_info=True)
    missing, surplus = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(model.state_dict())} weights are missing, {missing[:4]}, and {len(surplus)} "
            f"are left over, {surplus[:4]}; pass the config that the checkpoint was trained with"
        )


def _write(path: Path, folder: Path) -> None:
    """The work of the child process."""
    state = renamed(_state(_load(path)))
    own = {name: values.clone(memory_format=torch.contiguous_format) for name, values in state.items()}  # no views
    save_file(own, folder / "model.safetensors", {"format": "pt"})
    if (folder / "config.json").exists():
        _check(folder)


if __name__ == "__main__":
    try:
        _write(*map(Path, sys.argv[1:]))
    except ValueError as error:  # the parent raises what is read here
        print(error)
        sys.exit(1)
