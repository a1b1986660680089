"""Models wired by hand, so that the right answer of an analysis is known before it is asked.

`wired` is a one-block Llama over two languages. Translations share an embedding but for one dimension, which whispers
the language; one unit of the block's MLP turns the whisper into a shout, of another loudness for every word.
"""

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from helpers.models import LanguageModel

SITE, UNIT = "model.layers.0.mlp.down_proj", 0  # the unit that carries the language


def wired(*, words: int = 40, sentences: int = 60, hidden: int = 32, loudness: float = 30.0, seed: int = 0):
    """(LanguageModel, table[language, sentence, text]): unit UNIT of SITE answers to language `loud` alone.

    Without that unit's output a sentence and its translation have equal states after the block, up to a thousandth.
    """
    rng = np.random.default_rng(seed)
    vocabulary = ["<pad>", "<unk>", "<s>"] + [f"{name}{i}" for name in ("quiet", "loud") for i in range(words)]
    lm = LanguageModel(_model(len(vocabulary), words, hidden, loudness, rng), _tokenizer(vocabulary), "wired", "")
    meanings = [rng.choice(words, size=5, replace=False) for _ in range(sentences)]
    rows = [
        (name, f"s{i}", " ".join(f"{name}{word}" for word in meaning))
        for name in ("quiet", "loud")
        for i, meaning in enumerate(meanings)
    ]
    return lm, pd.DataFrame(rows, columns=["language", "sentence", "text"])


def _tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>")


@torch.no_grad()
def _model(size: int, words: int, hidden: int, loudness: float, rng: np.random.Generator) -> LlamaForCausalLM:
    """Attention writes nothing; the MLP reads dimension 0, gates it by itself and writes it back, louder."""
    shape = dict(vocab_size=size, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4)
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True, pad_token_id=0)).eval()
    for weight in model.model.layers[0].parameters():
        weight.fill_(1.0 if weight.dim() == 1 else 0.0)
    whisper, meaning = 1e-3, rng.normal(size=(words, hidden))
    table = np.zeros((size, hidden))
    table[3:] = np.concatenate([meaning, meaning])
    table[3:, 0] = whisper * np.concatenate([-np.ones(words), rng.uniform(0.2, 1.8, words)])
    model.model.embed_tokens.weight.copy_(torch.from_numpy(table))
    mlp = model.model.layers[0].mlp
    mlp.gate_proj.weight[0, 0] = 5 / whisper
    mlp.up_proj.weight[0, 0] = 1 / whisper
    mlp.down_proj.weight[UNIT, 0] = loudness / 5
    return model
