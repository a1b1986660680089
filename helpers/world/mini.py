"""Mini models: small multilingual language models trained on the world, and their checkpoints.

Two come with the workbook (`data/models`); others are trained when they are first asked for. Every checkpoint is a
folder that `from_pretrained` loads. Training data follow from the seed and the step alone, so a stopped training goes
on where its last saved state ended.
"""

import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import Timeout
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import XLMRobertaConfig as EncoderConfig
from transformers import XLMRobertaForMaskedLM as Encoder

from helpers import DATA
from helpers.common import store
from helpers.common.progress import progress
from helpers.models import hub
from helpers.world.recipes import Recipe, recipe, schedule, world_of

CHUNK = 100  # steps whose documents are drawn, tokenised and bucketed by length together
SPECIAL = dict(pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>")
_MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # of AdamW and of Muon
_THREADS = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,))  # they start when there is work


def lacking(made: Recipe, folder: Path) -> list[int]:
    """The steps of the schedule whose checkpoints are not in the folder."""
    return [step for step in schedule(made) if not _at(folder, step).exists()]


def ensure(name: str = "mini", *, made: Recipe | None = None, folder: Path | None = None) -> Path:
    """The folder of a mini model's checkpoints, trained, or trained further, when they are not all there.

    One process trains a model; any other waits for it.
    """
    made, folder = made or recipe(name), Path(folder or _home(name))
    kept, wanted, usual = folder / "recipe.json", *(json.loads(json.dumps(asdict(x))) for x in (made, Recipe()))
    if kept.exists() and usual | json.loads(kept.read_text()) != wanted:  # a setting that came later had its default
        raise ValueError(f"{folder} holds a model of another recipe; delete the folder or give the model another name")
    while lacking(made, folder):
        try:
            with store.locked(claim(folder)):
                if lacking(made, folder):  # still, now that nobody else trains
                    store.write_json(kept, wanted)
                    _train(made, folder)
        except Timeout:
            warnings.warn(f"another process is training {name}; waiting for it to end", stacklevel=2)
            time.sleep(2)
    return folder


def pretrain(name: str, folder: Path | None = None) -> Path:
    """The folder of a mini model trained anew, or on from where a training stopped, to be shipped with the workbook.

    It holds the checkpoints, `recipe.json`, `training.json` and `manifest.json`, which says what made them (seed,
    commit, versions) and the SHA-256 of every file. What was shipped before is replaced when all is there.
    """
    place, made = Path(folder or hub.SHIPPED / name), recipe(name)
    trained = ensure(name, made=made, folder=DATA / "cache" / "pretrain" / name)
    files = sorted(path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file())
    sums = {file: hub.sha256(trained / file) for file in files}
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
    shutil.copytree(trained, partial, dirs_exist_ok=True)
    store.write_json(partial / hub.MANIFEST, store.describe(asdict(made)) | dict(files=sums))
    _replace(partial, place)
    return place


def _home(name: str) -> Path:
    """Where a mini model lies: with the workbook, or else where it is trained to."""
    return hub.series().get(name, DATA / "cache" / "models" / name)


def claim(folder: Path) -> str:
    """Name of the lock that whoever trains the model in a folder holds."""
    return f"model-{folder.name}-{store.key(str(folder.resolve()))}"


def training_log(name: str) -> pd.DataFrame:
    """table[step, seconds, loss] of a mini model's training, every twenty steps; loss in nats per token.

    Empty for a model that is no mini model. The `attrs` of a shipped one hold what made it: parameters, commit,
    versions and time.
    """
    path, made = _home(name) / "training.json", _home(name) / hub.MANIFEST
    log = pd.read_json(path) if path.exists() else pd.DataFrame(columns=["step", "seconds", "loss"], dtype=float)
    log.attrs = json.loads(made.read_text()) if made.exists() else {}
    return log


def tokenizer(made: Recipe) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer trained on the recipe's documents; adds `<s>` (and `</s>` for an encoder) itself."""
    made_of = Tokenizer(models.BPE(unk_token="<unk>"))
    made_of.pre_tokenizer, made_of.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=made.vocabulary, special_tokens=[*SPECIAL.values()], show_progress=False)
    made_of.train_from_iterator(world_of(made).documents(6_000, seed=-1), trainer)
    single = "<s> $A </s>" if made.encoder else "<s> $A"
    made_of.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=made_of, **SPECIAL, model_max_length=128)


def untrained(made: Recipe) -> LlamaForCausalLM | Encoder:
    """The model of a recipe before its first step; the global random state stays as it is."""
    shape = dict(
        vocab_size=made.vocabulary, hidden_size=made.hidden, num_hidden_layers=made.layers,
        num_attention_heads=made.heads, intermediate_size=made.mlp, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=made.spread,
    )  # fmt: skip
    quiet = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(made.seed)
        if made.encoder:
            return Encoder(EncoderConfig(**shape, **quiet, max_position_embeddings=132))
        return LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=128))


def _train(made: Recipe, folder: Path) -> None:
    words, model = tokenizer(made), untrained(made)
    optimisers = _optimisers(model, made)
    done, log = _resume(model, optimisers, folder)
    keep, began = schedule(made), time.monotonic() - (log[-1]["seconds"] if log else 0)
    bar = progress(None, "pretraining", made.steps, done)
    if done == 0:
        _keep(model, words, _at(folder, 0))
    try:
        for step, batch in _batches(made, words, done):
            loss = _update(model, optimisers, batch, made, step)
            done = step
            if step % 20 == 0:
                log.append(dict(step=step, seconds=round(time.monotonic() - began, 2), loss=round(loss, 4)))
            if step in keep:
                _keep(model, words, _at(folder, step))
                _save_state(model, optimisers, folder, done, log)
            bar.update()
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
    except KeyboardInterrupt:
        _save_state(model, optimisers, folder, done, log)
        raise
    finally:
        bar.close()
    (folder / "state.safetensors").unlink()


def _optimisers(model, made: Recipe) -> dict[torch.optim.Optimizer, float]:
    """Optimiser -> its peak rate: Muon for the matrices of the blocks, AdamW for everything else.

    With AdamW alone the loss after 800 steps is 3.64, with Muon 3.38 (of `mini`, at two thirds of its schedule).
    """
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "layer" in name]
    others = [p for p in model.parameters() if all(p is not q for q in inner)]
    settings = dict(lr=made.rate, betas=(0.9, 0.98), weight_decay=made.decay, fused=True)
    muon = torch.optim.Muon(inner, lr=made.inner_rate, weight_decay=made.decay / 10)
    return {muon: made.inner_rate, torch.optim.AdamW(others, **settings): made.rate}


def _update(model, optimisers: dict, batch: dict, made: Recipe, step: int) -> float:
    """One step with a linear warm-up and a cosine decay to a tenth; returns the loss in nats per token.

    The batch's two halves run in threads of their own, which keeps two cores busier than one small product shared by
    both (44 against 63 ms a step); the halves are fixed, so the result does not depend on the machine's cores.
    """
    decay = 0.55 + 0.45 * np.cos(np.pi * step / made.steps)
    for optimiser, rate in optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, step / made.warmup) * decay
    parameters, labels = list(model.parameters()), max(1, int((batch["labels"] >= 0).sum()))

    def gradients(half: int) -> tuple[float, tuple[torch.Tensor, ...]]:
        loss = _loss(model, **{name: values[half::2] for name, values in batch.items()})
        return loss.item(), torch.autograd.grad(loss, parameters)

    losses, parts = zip(*_THREADS.map(gradients, range(2)))
    for p, one, other in zip(parameters, *parts):
        p.grad = (one + other) / labels
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimiser in optimisers:
        optimiser.step()
    return sum(losses) / labels


def _loss(model, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy of the labelled positions alone; scores of the others are never computed.

    A decoder needs no mask: padding stands to the right, where no real token looks.
    """
    mask = (ids > 0).long() if isinstance(model, Encoder) else None
    states, wanted = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state, labels >= 0
    return cross_entropy(model.lm_head(states[wanted]), labels[wanted], reduction="sum")


def _batches(made: Recipe, words: PreTrainedTokenizerFast, done: int) -> Iterator[tuple[int, dict]]:
    """(step, batch) from the step after `done`; a chunk's documents depend on the seed and its number alone.

    Documents of one length go together.
    """
    for chunk in range(done // CHUNK, -(-made.steps // CHUNK)):
        texts = world_of(made).documents(CHUNK * made.batch, seed=made.seed * 10_000 + chunk)
        encoded = words.backend_tokenizer.encode_batch_fast([text + "</s>" * (not made.encoder) for text in texts])
        ids = [torch.tensor(row) for row in sorted((row.ids for row in encoded), key=len)]
        for i, place in enumerate(np.random.default_rng([made.seed, chunk]).permutation(CHUNK)):
            step = chunk * CHUNK + i + 1
            if done < step <= made.steps:
                batch = pad_sequence(ids[place * made.batch : (place + 1) * made.batch], batch_first=True)
                yield step, _masked(batch, step) if made.encoder else _shifted(batch)


def _shifted(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every position is labelled with the token that follows; -100 where none does."""
    return dict(ids=ids, labels=pad(ids.masked_fill(ids == 0, -100)[:, 1:], (0, 1), value=-100))


def _masked(ids: torch.Tensor, step: int) -> dict:
    """35 % of the tokens are guessed: 80 % of them hidden, 10 % random, 10 % left, as BERT does with 15 %.

    More to guess teaches a short training more: after 1,500 steps the loss was 4.45, with 15 % it was 5.29.
    """
    chance = torch.Generator().manual_seed(step)
    guessed = (torch.rand(ids.shape, generator=chance) < 0.35) & (ids >= len(SPECIAL))
    fate = torch.rand(ids.shape, generator=chance)
    random = torch.randint(len(SPECIAL), int(ids.max()) + 1, ids.shape, generator=chance)
    shown = torch.where(guessed & (fate < 0.8), [*SPECIAL].index("mask_token"), ids)
    shown = torch.where(guessed & (fate > 0.9), random, shown)
    return dict(ids=shown, labels=ids.masked_fill(~guessed, -100))


def _at(folder: Path, step: int) -> Path:
    return folder / f"step{step:06d}"


def _keep(model, words: PreTrainedTokenizerFast, place: Path) -> None:
    """A checkpoint folder appears whole or not at all.

    The weights are rounded to half precision, in the model too, which trains on from there: so the file is half as
    large and holds the very model, in float32 when it is loaded.
    """
    for p in model.parameters():
        p.data.copy_(p.data.half())
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
    model.save_pretrained(partial)
    weights = partial / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, metadata=dict(format="pt"))
    words.save_pretrained(partial)
    _replace(partial, place)


def _replace(partial: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    partial.chmod(0o755)
    partial.rename(place)


def _save_state(model, optimisers: dict, folder: Path, step: int, log: list[dict]) -> None:
    """Weights, moments and the log: what a resumed training needs."""
    if step:
        state = dict(model.named_parameters())
        for optimiser in optimisers:
            for name, p in model.named_parameters():
                state |= {f"{kind}.{name}": optimiser.state[p][kind] for kind in _MOMENTS if kind in optimiser.state[p]}
        store.write_arrays(folder / "state.safetensors", state, provenance=dict(step=step))
        store.write_json(folder / "training.json", log)


def _resume(model, optimisers: dict, folder: Path) -> tuple[int, list[dict]]:
    """(steps done, log), with model and optimisers as they were then."""
    path = folder / "state.safetensors"
    if not path.exists():
        return 0, []
    state = {name: torch.from_numpy(values) for name, values in store.read_arrays(path).items()}
    done = store.read_provenance(path)["parameters"]["step"]
    holder = {p: optimiser for optimiser in optimisers for group in optimiser.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        p.data.copy_(state[name])
        moments = {kind: state[f"{kind}.{name}"] for kind in _MOMENTS if f"{kind}.{name}" in state}
        holder[p].state[p] = moments | dict(step=torch.tensor(float(done)))
    log = json.loads((folder / "training.json").read_text())
    return done, [row for row in log if row["step"] <= done]
