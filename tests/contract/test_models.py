"""What every registered model keeps to; a new one is tested the day it has its entry in `tiny.py`."""

from __future__ import annotations

import copy
import io
import re

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves, tree_map

from tests.contract.tiny import TINY
from videozoo.config.check import accepted
from videozoo.errors import ConfigError
from videozoo.models import create_model, list_models, models

BATCH = 3
DUAL_ENCODERS = {"pe_core"}  # a tower for clips, without feature maps over space and time, and one for sentences
OF_CLIPS = [name for name in sorted(TINY.keys() - DUAL_ENCODERS) if "crop_px" in accepted(models.get(name))]
POOLS_OTHERWISE = {  # how the features come about that are not the means of the maps
    "hiera": "a normalisation after the mean",
    "movinet": "a layer after the mean",
    "mvit": "a class token",
    "pptimesformer": "a class token",
    "pptsm_mobile": "a layer after the mean",
    "pptsm_v2": "a layer after the mean",
    "stnet": "convolutions over the segments' means",
    "timesformer": "a class token",
    "tokenshift": "class tokens",
    "umt": "a normalisation after the mean",
    "videomae": "a normalisation after the mean",
    "vjepa2": "a query that attends to the tokens",
}
UNUSED = {"mvit": r"^body\.blocks\.3\.attn\.(rel_pos_[hwt]|pool_q\.pool\.weight)$"}  # the class token's scores use none
SEES_ALL_FRAMES = ("mvit", "nonlocal", "s3d", "slowfast")  # at each place of a tiny build's maps
SEES_ALL_PLACES = ("pptsm_mobile", "pptsm_v2")
SLOW_TO_TRACE = {
    "movinet",
    "mvit",
    "nonlocal",
    "pptsm_mobile",
    "pptsm_v2",
    "s3d",
    "slowfast",
    "videoswin",
}  # narrow builds have as many layers


def is_classifier(part):
    return getattr(part, "is_classifier", True) and "num_classes" in accepted(part)


every_model = pytest.mark.parametrize("name", sorted(TINY))
every_classifier = pytest.mark.parametrize(
    "name",
    [name for name in sorted(TINY) if name in models.names() and is_classifier(models.get(name))],
)


def tiny(name, **args):
    torch.manual_seed(0)
    model = create_model(name, **TINY[name] | args)
    with torch.no_grad():  # layers that start at zero would let any mistake behind them pass
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return model


def clips(model, batch=BATCH):
    return torch.randn(batch, *model.input_shape, generator=torch.Generator().manual_seed(1))


def test_every_registered_model_has_a_tiny_build():
    assert set(TINY) == set(list_models())


@every_model
def test_gradients_reach_every_parameter(name):
    model = tiny(name).train()
    outputs = tree_leaves(model(clips(model)))
    if name in DUAL_ENCODERS:
        tokens = torch.tensor([[1, 5, 7, 49407, *[0] * (model.context - 4)]])
        outputs += [model.forward_text(tokens), model.logit_scale.exp()]
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [n for n in silent if not (name in UNUSED and re.search(UNUSED[name], n))]


@every_model
def test_evaluation_is_deterministic_and_batch_independent(name):
    model = tiny(name).eval()
    x = clips(model)
    with torch.no_grad():
        together, again, alone = model(x), model(x), model(x[1:2])
    assert_close(again, together, atol=0, rtol=0)
    assert_close(alone, tree_map(lambda t: t[1:2], together), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in sorted(TINY) if "feature_dims" in TINY[name]])
def test_padding_changes_no_answer(name):
    model = tiny(name).eval()
    x = clips(model)
    num_frames = x.shape[1]
    padded = torch.cat([x, torch.full_like(x, 100.0)], dim=1)
    mask = torch.arange(2 * num_frames).expand(BATCH, -1) < num_frames
    with torch.no_grad():
        assert_close(model(padded, mask), model(x), atol=1e-5, rtol=1e-4)
        short = model(padded, mask & (torch.arange(2 * num_frames) < 2))
        assert_close(short, model(x[:, :2]), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(short, model(x))


@every_model
def test_saved_is_loaded(name):
    model, other = tiny(name), tiny(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = clips(model)
    with torch.no_grad():
        want = model.eval()(x)
        assert_close(other.eval()(x), want, atol=0, rtol=0)
        assert_close(copy.deepcopy(model)(x), want, atol=0, rtol=0)


@every_model
def test_rules_match_parameters(name):
    model = tiny(name)
    assert model.name == name
    for rule in model.param_rules:
        assert any(re.search(rule.match, n) for n, _ in model.named_parameters()), rule


@every_classifier
def test_no_classes_gives_the_features(name):
    model = tiny(name, num_classes=0).eval()
    x = clips(model)
    with torch.no_grad():
        features = model(x)
        assert features.shape == (BATCH, model.num_features)
        assert_close(features, model.forward_features(x))


@every_classifier
def test_scores_are_those_of_the_features(name):
    model = tiny(name).eval()
    x = clips(model)
    with torch.no_grad():
        features, scores = model.forward_both(x)
        assert_close(features, model.forward_features(x), atol=0, rtol=0)
        assert_close(scores, model(x), atol=0, rtol=0)
        assert_close(model.forward_head(features), scores, atol=1e-6, rtol=1e-5)
    model.reset_classifier(0)
    assert_close(model.forward_head(features), features, atol=0, rtol=0)


@pytest.mark.parametrize("name", sorted(set(TINY) - set(OF_CLIPS)))
def test_models_of_features_have_no_maps(name):
    model = tiny(name).eval()
    with pytest.raises(ConfigError, match=rf"^{name}: has no feature maps over space and time; take a model of clips"):
        model.forward_maps(clips(model))


@pytest.mark.parametrize("name", sorted(set(TINY) - {n for n in TINY if is_classifier(models.get(n))}))
def test_other_models_give_no_class_scores_of_features(name):
    with pytest.raises(ConfigError, match=rf"^{name}: gives no class scores of pooled features; take a classifier"):
        tiny(name).forward_head(torch.zeros(BATCH, 4))


@pytest.mark.parametrize("name", OF_CLIPS)
def test_maps_lie_on_a_grid_of_the_clip(name):
    model = tiny(name).eval()
    x = clips(model)
    num_frames, _, height, width = model.input_shape
    with torch.no_grad():
        maps = model.forward_maps(x)
        assert maps.ndim == 5 and len(maps) == BATCH
        assert num_frames % maps.shape[2] == 0
        assert height >= maps.shape[3] == maps.shape[4] <= width
        assert_close(model.forward_maps(x[1:2]), maps[1:2], atol=1e-5, rtol=1e-4)
        if name not in POOLS_OTHERWISE:
            assert_close(maps.mean((2, 3, 4)), model.forward_features(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OF_CLIPS)
def test_maps_keep_time_and_place(name):
    """A change in the lower right of the last frames moves the maps most at that end."""
    model = tiny(name).eval()
    x = clips(model, batch=1)
    t, _, h, w = model.input_shape
    other = x.clone()
    other[:, -(t // 2) :, :, h // 2 :, w // 2 :].normal_(generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        change = (model.forward_maps(other) - model.forward_maps(x)).abs().mean((0, 1))
    if name not in SEES_ALL_FRAMES:
        assert change[-1].mean() > 2 * change[0].mean()
    if change.shape[1] > 1 and name not in SEES_ALL_PLACES:
        assert change[:, -1, -1].mean() > 2 * change[:, 0, 0].mean()


@every_classifier
def test_the_classifier_is_replaced(name):
    model = tiny(name).eval()
    body = {n for n, _ in tiny(name, num_classes=0).named_parameters()}
    before = {n: p.detach().clone() for n, p in model.named_parameters() if n in body}
    for num_classes in (9, 0, 4):
        model.reset_classifier(num_classes)
        assert model.num_classes == num_classes
        with torch.no_grad():
            assert model(clips(model)).shape == (BATCH, num_classes or model.num_features)
    assert_close({n: p.detach() for n, p in model.named_parameters() if n in body}, before, atol=0, rtol=0)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in SLOW_TO_TRACE else name for name in sorted(TINY)]
)
@pytest.mark.filterwarnings("ignore:The tensor attribute")  # nn.LSTM keeps a list of its weights
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the tracer of a scan looks at all tensors'
def test_exports_with_a_free_batch(name):
    model = tiny(name).eval()
    x = clips(model)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    other = clips(model, batch=2)
    with torch.no_grad():
        assert_close(program.module()(other), model(other), atol=1e-5, rtol=1e-4)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # the exporter's own
@every_model
def test_onnx_gives_the_same_outputs(name, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = tiny(name).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (clips(model),), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    other = clips(model, batch=2)
    outputs = session.run(None, {session.get_inputs()[0].name: other.numpy()})
    with torch.no_grad():
        expected: list[Tensor] = tree_leaves(model(other))
    for output, want in zip(outputs, expected, strict=True):
        assert_close(torch.from_numpy(output), want, atol=1e-4, rtol=1e-3)
