"""How the weights of every registered model start: the published distributions, and activations of a useful size."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.contract.tiny import TINY
from videozoo.models import create_model
from videozoo.models.registry import models


def fan_in(p):
    return p[0].numel()


def fan_out(p):
    return p.shape[0] * p[0, 0].numel()


DEVIATIONS = {
    "kaiming_in": lambda p: math.sqrt(2 / fan_in(p)),
    "kaiming_out": lambda p: math.sqrt(2 / fan_out(p)),
    "linear": lambda p: math.sqrt(1 / fan_in(p)),
    "torch": lambda p: math.sqrt(1 / (3 * fan_in(p))),
    "xavier": lambda p: math.sqrt(2 / (fan_in(p) + fan_out(p))),
    "tanh": lambda p: 5 / 3 * math.sqrt(2 / (fan_in(p) + fan_out(p))),
    "shift": lambda p: len(p) ** -0.25,  # of attention clusters
    "centers": lambda p: math.sqrt(2 / len(p)),  # of NeXtVLAD
    "hidden": lambda p: (len(p) // 4) ** -0.5 / math.sqrt(3),  # of an LSTM: U(+-hidden ** -0.5)
}
WIDE = {"feature_dims": (256, 64), "num_frames": 5, "num_classes": 9}
NEXTVLAD = {**WIDE, "hidden_dim": 32}
LSTM = {**WIDE, "embedding_dim": 32, "lstm_dim": 24, "hidden_dims": (96, 48)}
VIT = r"^backbone\.blocks\.\d+\.(attn|mlp)\..*\.weight$"
INITIAL = [  # model, its arguments, parameters, their deviation; of the originals where they are known
    ("attention_cluster", {**WIDE, "cluster_sizes": (16, 9)}, r"(attention|fc\d|head)\.weight$", "kaiming_in"),
    ("attention_cluster", {**WIDE, "cluster_sizes": (64, 64)}, r"clusters\.\d\.shift", "shift"),
    ("attention_lstm", {**LSTM, "init": "published"}, r"(embedding|attention|fc\d|head)\.weight$", "xavier"),
    ("attention_lstm", {**LSTM, "init": "published"}, r"lstm\.(weight|bias)_", "hidden"),
    ("attention_lstm", LSTM, r"(embedding|head)\.weight$", "xavier"),
    ("attention_lstm", LSTM, r"fc1\.weight$", "kaiming_in"),
    ("attention_lstm", LSTM, r"fc2\.weight$", "tanh"),
    ("bmn", {}, r"^reduce\.weight$", "torch"),
    ("bmn", {}, r"^(matching|confidence\.\d)\.weight$", "kaiming_in"),
    ("bsn", {}, r"weight$", "torch"),
    ("bsn_pem", {}, r"weight$", "torch"),
    ("bsn_tem", {}, r"weight$", "torch"),
    ("ctcn", {}, r"^(coarse|laterals|smooth|offsets|scores)\.\d\.weight$", "torch"),
    ("ets", {}, r"^(embed|ahead_inputs|keys|query|head)\.weight$", "torch"),
    ("hiera", {}, r"(attn\.qkv|mlp\.fc1)\.weight$", 0.02),
    ("mean_pool", WIDE, r"^head\.weight$", 0.0),
    ("movinet", {}, r"(expand|deep|project)\.space\.0\.weight$", "kaiming_out"),
    ("mvit", {}, r"(qkv|project|mlp\.\d)(\.0)?\.weight$|rel_pos", 0.02),
    ("nextvlad", NEXTVLAD, r"(expand|attention|assign|^hidden|gate_\w+|^head)\.weight$", "kaiming_in"),
    ("nextvlad", NEXTVLAD, r"centers$", "centers"),
    ("nonlocal", {}, r"(theta|phi)\.weight$", 0.01),
    ("pe_core", {}, r"^text\.blocks\.\d\.qkv\.weight$", "linear"),
    ("pe_core", {}, r"^image\.head\.weight$", "linear"),
    ("pptimesformer", {}, VIT, 0.02),
    ("pptsm", {}, r"^head\.weight$", 0.01),
    ("pptsm_mobile", {}, r"^blocks\.\d+\.(expand|depthwise|project)\.0\.weight$", "kaiming_in"),
    ("pptsm_v2", {}, r"pointwise\.0\.conv\.weight$", "kaiming_in"),
    ("pptsn", {}, r"^head\.weight$", 0.01),
    ("s3d", {}, r"^features\.\d+\.branch\d.*\.0\.weight$", lambda p: 1.2 * fan_in(p) ** -0.5),
    ("slowfast", {}, r"conv\.weight$", "kaiming_out"),
    ("slowfast", {}, r"stages\.\d\.\d\.c\.norm\.weight$", 0.0),
    ("stnet", {}, r"^temporal\.\d\.conv\.weight$", "kaiming_in"),
    ("tall", {}, r"^(window|sentence)\.weight$", 1.0),
    ("timesformer", {}, VIT, 0.02),
    ("timesformer", {}, r"^backbone\.blocks\.1\.temporal_fc\.weight$", 0.0),
    ("tokenshift", {}, VIT, 0.02),
    ("transnetv2", {}, r"(branches.*|^hidden)\.weight$", "torch"),
    ("tsm", {}, r"^head\.weight$", 0.001),
    ("tsn", {}, r"^head\.weight$", 0.01),
    ("umt", {}, r"blocks\.\d\..*(qkv|proj|fc\d)\.weight$", 0.02),
    ("videomae", {}, r"blocks\.\d\..*(qkv|proj|fc\d)\.weight$", 0.02),
    ("videoswin", {}, r"(qkv|proj|fc\d)\.weight$|bias_table$", 0.02),
    ("vjepa2", {}, r"^blocks\.\d\..*(qkv|fc1)\.weight$", 0.02),
]  # fmt: skip


def built(name, **args):
    torch.manual_seed(0)
    own = {} if "feature_dims" in args else TINY[name]
    return create_model(name, **{**own, **args})


def test_the_table_names_every_model():
    assert {name for name, *_ in INITIAL} == set(models.names())


@pytest.mark.parametrize(("name", "args", "pattern", "deviation"), INITIAL)
def test_deviations(name, args, pattern, deviation):
    found = {key: p for key, p in built(name, **args).named_parameters() if re.search(pattern, key)}
    found = {key: p.detach() for key, p in found.items() if key != "patch_embed.proj.weight"}
    assert found
    if deviation == 0.0:
        assert not any(p.any() for p in found.values())
        return
    rule = deviation if callable(deviation) else DEVIATIONS.get(deviation, lambda p: deviation)
    scaled = torch.cat([p.flatten() / rule(p) for p in found.values()])
    assert len(scaled) >= 12
    apart = 5 / math.sqrt(2 * len(scaled)) + 0.02
    assert scaled.square().mean().sqrt().item() == pytest.approx(1, abs=apart)
    assert scaled.mean().item() == pytest.approx(0, abs=5 / math.sqrt(len(scaled)))


@pytest.mark.parametrize("name", models.names())
def test_activations_and_gradients_neither_vanish_nor_explode(name):
    """Standard-normal input, batch norms with the statistics of the batch; a batch's features differ."""
    net = built(name).train()
    x = torch.randn(8, *net.input_shape, generator=torch.Generator().manual_seed(1))
    features = net.forward_frames(x).mean(1) if name == "transnetv2" else net.forward_features(x)
    assert features.isfinite().all()
    assert 1e-3 < features.std(0).square().mean().sqrt() < 30
    if name == "mean_pool":  # its features are the means, and its classifier starts at zero
        return
    features.square().sum().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None and p.grad.any()]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    assert max(gradient.norm() for gradient in gradients) < 1e6


FEATURE_MODELS = {
    "attention_cluster": {"cluster_sizes": 8, "hidden_dims": (128, 128)},
    "attention_lstm": {"embedding_dim": 64, "lstm_dim": 32, "hidden_dims": (256, 128)},
    "mean_pool": {},
    "nextvlad": {"num_clusters": 4, "expansion": 1, "hidden_dim": 64},
}


@pytest.mark.parametrize("name", FEATURE_MODELS)
def test_models_of_features_learn_wide_features(name):
    """12 classes of standardised features; AttentionLSTM stayed at chance there when its layers began too small."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 12
    classes = torch.randn(12, 1, 2048, generator=generator)
    x = 0.5 * classes[labels] + torch.randn(48, 3, 2048, generator=generator)
    torch.manual_seed(0)
    net = create_model(name, num_classes=12, feature_dims=(2048,), **FEATURE_MODELS[name])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(25):
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (net.eval()(x).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("name", sorted(FEATURE_MODELS.keys() - {"mean_pool"}))
def test_mean_scores_start_as_logistic_regression(name):
    net = built(name, **{**WIDE, **FEATURE_MODELS[name]}, mean_scores=True).eval()
    x = torch.randn(3, 5, 320)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [True] * 4 + [False]])
    assert not net(x, mask).any()
    with torch.no_grad():
        nn.init.normal_(net.mean_head.weight)
    means = torch.stack([rows[known].mean(0) for rows, known in zip(x, mask, strict=True)])
    torch.testing.assert_close(net(x, mask), net.mean_head(means))


@pytest.mark.parametrize("peepholes", [False, True])
def test_forget_gates_start_open(peepholes):
    net = built("attention_lstm", **LSTM, peepholes=peepholes)
    lstm = net.readers[0].forward_lstm
    bias = lstm.inputs.bias if peepholes else lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert [gate.unique().tolist() for gate in bias.chunk(4)] == [[0], [1], [0], [0]]
