from __future__ import annotations

import torch

from videozoo.layers.dropout import InferenceScaledDropout


def test_survivors_keep_their_value_in_training_and_all_shrink_at_inference():
    layer, x = InferenceScaledDropout(0.25), torch.full((4000,), 2.0)
    kept = layer.train()(x)
    assert set(kept.tolist()) == {0.0, 2.0}
    assert 0.7 < (kept > 0).float().mean() < 0.8
    assert torch.equal(layer.eval()(x), x * 0.75)


def test_no_dropout_is_the_identity():
    layer, x = InferenceScaledDropout(0.0), torch.randn(5)
    assert torch.equal(layer.train()(x), x) and torch.equal(layer.eval()(x), x)
