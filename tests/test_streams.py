"""States as sums of what components wrote: against `embed`, and where one component alone writes the language."""

import numpy as np
import pytest
import tiny
import torch
from test_methods import corpus

from helpers.embeddings import activations, retrieval, streams
from helpers.world import planted


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gpt_neox", "cohere", "gemma", "bert", "xlm_roberta"])
def test_components_add_up_to_the_states_of_every_layer(family):
    lm, table = tiny.language_model(family), corpus()
    states, parts = streams.components(lm, table)
    np.testing.assert_allclose(states.values, activations.embed(lm, table).values, rtol=1e-3, atol=1e-3)
    assert parts.shape == (4, *states.values.shape)
    assert not parts[1:3, :, 0].any() and parts[1:3, :, 1].flatten(1).any(1).all(), "only embeddings at layer 0"
    shares = streams.headroom(lm, table).query("component != 'all'").groupby("layer").share.sum()
    np.testing.assert_allclose(shares, 1.0, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_norm_of_summands_is_the_norm_of_their_sum(family):
    torch.manual_seed(0)
    lm, parts = tiny.language_model(family), torch.randn(4, 2, 3, tiny.HIDDEN)
    norm = next(part for part in lm.model.modules() if "Norm" in type(part).__name__)
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(streams._normed(norm, parts).sum(0), norm(parts.sum(0)), rtol=1e-4, atol=1e-4)


def test_the_mlp_that_shouts_the_language_has_its_share_and_its_headroom():
    """In the wired model the block's MLP writes the language; without its means retrieval is that of centring."""
    lm, table = planted.wired("selector")
    found = streams.headroom(lm, table).set_index(["layer", "component"])
    assert found.share[1, "MLPs"] > 0.5 and found.share[2, "MLPs"] > 0.99
    assert set(found.loc[2].index) == {"embeddings", "MLPs", "all"}, "attention writes nothing"
    states = activations.embed(lm, table)
    for layer in states.layers:
        values = states.parallel(layer)
        level = values - values.mean(1, keepdim=True) + values.mean((0, 1))
        assert found.after[layer, "all"] == pytest.approx(retrieval.per_sentence(retrieval.correct(level)).mean())


def test_blocks_that_add_something_else_are_refused(monkeypatch):
    lm, table = tiny.language_model("llama"), corpus(2)
    block = lm.model.model.layers[1]
    monkeypatch.setattr(block, "forward", lambda *args, _call=block.forward, **options: _call(*args, **options) + 1)
    with pytest.raises(ValueError, match="the parts of block 1 of tiny-llama miss its output by .*%; it adds more"):
        streams.headroom(lm, table)
