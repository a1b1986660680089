"""Pickled `.pt` checkpoints become safetensors folders that `from_pretrained` loads.

They are read with `weights_only=True`, in a process of its own: a pickle that asks for more than tensors is refused.
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
FAIRSEQ = re.compile(r"^(?:decoder|encoder)\.(?=sentence_encoder\.|lm_head\.)")
FAIRSEQ_TO_HF = {  # parts of names, in this order
    "sentence_encoder.embed_tokens.": "roberta.embeddings.word_embeddings.",
    "sentence_encoder.embed_positions.": "roberta.embeddings.position_embeddings.",
    "sentence_encoder.emb_layer_norm.": "roberta.embeddings.LayerNorm.",
    "sentence_encoder.layernorm_embedding.": "roberta.embeddings.LayerNorm.",
    "sentence_encoder.layers.": "roberta.encoder.layer.",
    ".self_attn.q_proj.": ".attention.self.query.",
    ".self_attn.k_proj.": ".attention.self.key.",
    ".self_attn.v_proj.": ".attention.self.value.",
    ".self_attn.out_proj.": ".attention.output.dense.",
    ".self_attn_layer_norm.": ".attention.output.LayerNorm.",
    ".fc1.": ".intermediate.dense.",
    ".fc2.": ".output.dense.",
    ".final_layer_norm.": ".output.LayerNorm.",
    "lm_head.weight": "lm_head.decoder.weight",
}


def convert(path: Path, out: Path, *, config: Path | None = None, tokenizer: Path | None = None) -> Path:
    """The folder `out`, with the weights of the `.pt` file at `path` as model.safetensors.

    Layouts: a state dict; {"model": state dict}, names of fairseq RoBERTa and XLM-R translated; Composer's {"state":
    {"model": ...}}. `config` is a config.json or a folder with one, `tokenizer` a folder (else that of `config`); both
    are copied, and the result must load without a missing weight. Raise LookupError for a path that is not there or
    already taken, ValueError for a file that cannot be converted.
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
        command, offline = [sys.executable, "-m", __name__, path.absolute(), folder], {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=HOUSE, env=os.environ | offline, capture_output=True, text=True)
        if done.returncode:
            reason = done.stdout.strip() or f"exit status {done.returncode}: {done.stderr.strip()[-500:]}"
            raise ValueError(f"{path} was not converted: {reason}")
        folder.rename(out)
    return out


def renamed(state: dict) -> dict:
    """The state dict under Hugging Face names: fairseq's RoBERTa and XLM-R translated, others as they are."""
    if not any(map(FAIRSEQ.match, state)):
        return state
    result = {}
    for name, tensor in state.items():
        if FAIRSEQ.match(name) and not name.endswith(".version"):  # no training-time counters and heads of other tasks
            stem, cut, kind = FAIRSEQ.sub("", name).partition("in_proj_")  # early fairseq: query, key, value in one
            names = [f"{stem}{part}_proj.{kind}" for part in "qkv"] if cut else [stem]
            for theirs, ours in FAIRSEQ_TO_HF.items():
                names = [part.replace(theirs, ours) for part in names]
            result |= zip(names, tensor.chunk(len(names)))
    words = result.get("roberta.embeddings.word_embeddings.weight")
    if words is not None:  # fairseq has no token types, Hugging Face has one
        result["roberta.embeddings.token_type_embeddings.weight"] = words.new_zeros(1, words.shape[1])
    if "lm_head.bias" in result:
        result["lm_head.decoder.bias"] = result["lm_head.bias"]
    return result


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
        fact = f"it cannot be read ({str(error).splitlines()[0]}); download it again"
        if code:
            fact = f"its pickle asks for {code[1]}, which may run code; where you trust it, save its tensors alone"
        raise ValueError(fact) from error


def _state(loaded) -> dict:
    """The state dict inside a loaded checkpoint, under its own names."""
    state = loaded = loaded if isinstance(loaded, dict) else {type(loaded).__name__: loaded}
    for layer in ("state", "model"):
        state = state.get(layer, state)
    tensors = {name: values for name, values in state.items() if isinstance(values, torch.Tensor)}
    if not tensors:
        raise ValueError(f'no state dict found, only {sorted(map(str, loaded))}; save it as {{"model": state_dict}}')
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
        fact = f"{len(missing)} of {len(model.state_dict())} weights are missing, {missing[:4]}"
        more = f"{len(surplus)} are left over, {surplus[:4]}"
        raise ValueError(f"{fact}, and {more}; pass the config that the checkpoint was trained with")


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
