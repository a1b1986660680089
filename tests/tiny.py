"""Tiny random models of every family the package reads, with a tokenizer made in memory.

Nothing is downloaded and nothing is kept: each model is two or three layers, 32 wide, and the same for the same seed.
"""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

from helpers.models.loading import LanguageModel

HIDDEN, LAYERS, HEADS, MLP = 32, 3, 4, 64
POSITIONS = 128
ENCODERS = ("bert", "xlm_roberta")
DECODERS = ("llama", "gpt2", "gpt_neox", "bloom", "cohere", "gemma", "qwen2")
FAMILIES = DECODERS + ENCODERS

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
LETTERS = "abcdefghijklmnopqrstuvwxyzαβγδεζηθικλμνξοπρστυφχψωабвгдежзийклмнопрстуфхцчшщъыьэюя.,"
SENTENCES = [
    "the small cat sees a bird near the river .",
    "a dog sleeps in the old house and the bird sings .",
    "the farmer carries bread to the village .",
    "the teacher reads a long book in the morning .",
    "der alte mann liest ein buch .",
    "το παιδι βλεπει τον ηλιο .",
    "старый дом стоит у реки .",
]

_WIDTHS = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
_LLAMA = _WIDTHS | {"intermediate_size": MLP, "num_key_value_heads": 2, "max_position_embeddings": POSITIONS}
_BERT = _WIDTHS | {"intermediate_size": MLP, "max_position_embeddings": POSITIONS, "num_attention_heads": HEADS}
CONFIGS = {
    "llama": _LLAMA,
    "gpt2": {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_inner": MLP, "n_positions": POSITIONS},
    "gpt_neox": _WIDTHS | {"intermediate_size": MLP, "max_position_embeddings": POSITIONS},
    "bloom": {"hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": HEADS},
    "cohere": _LLAMA,
    "gemma": _LLAMA | {"head_dim": 8},
    "qwen2": _LLAMA,
    "bert": _BERT,
    "xlm_roberta": _BERT | {"max_position_embeddings": POSITIONS + 2},
    "mixtral": _LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2},
}


def language_model(family: str = "llama", *, seed: int = 0, padding_side: str = "right", **config) -> LanguageModel:
    """A tiny random model of `family` with its tokenizer; `config` overrides the family's configuration."""
    tokens = tokenizer(family in ENCODERS, padding_side=padding_side)
    ids = {f"{role}_token_id": getattr(tokens, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    shape = CONFIGS[family] | {"vocab_size": len(tokens), "initializer_range": 0.2} | ids | config
    kind = AutoModelForMaskedLM if family in ENCODERS else AutoModelForCausalLM
    torch.manual_seed(seed)
    model = kind.from_config(AutoConfig.for_model(family.replace("xlm_", "xlm-"), **shape))
    return LanguageModel(model.eval(), tokens, f"tiny-{family}", f"seed{seed}")


def tokenizer(encoder: bool = False, *, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer of some 240 tokens: it reads Latin, Greek and Cyrillic letters, all else is `<unk>`.

    Decoders put `<s>` before a sentence; encoders put `<s>` and `</s>` around it.
    """
    trained = Tokenizer.from_str(_trained())
    pattern = "<s> $A </s>" if encoder else "<s> $A"
    ids = [(token, trained.token_to_id(token)) for token in ("<s>", "</s>")]
    trained.post_processor = processors.TemplateProcessing(single=pattern, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, padding_side=padding_side, model_max_length=POSITIONS, **SPECIAL
    )


@cache
def _trained() -> str:
    """The byte-pair model as JSON, trained once a session."""
    made = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=240, special_tokens=list(SPECIAL.values()), initial_alphabet=list(LETTERS), show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    return made.to_str()


def save(lm: LanguageModel, folder: Path | str) -> Path:
    """The folder, now holding the model as safetensors with its configuration and tokenizer."""
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return Path(folder)
