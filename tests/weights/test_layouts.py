"""`videozoo import` of files whose layout the tensors show: config files beside them, labels, encoders alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from videozoo.cli.main import app
from videozoo.errors import WeightsError
from videozoo.models import create_model
from videozoo.weights.checkpoint import read
from videozoo.weights.import_model import import_model
from videozoo.weights.importer import key_map
from videozoo.weights.keymap import find_layout
from videozoo.weights.label_sets import label_set
from videozoo.weights.transformers import read_description

VIDEOMAE = {"width": 24, "depth": 1, "num_heads": 2, "num_frames": 4, "crop_px": 32}
CONFIG = {
    "model_type": "videomae",
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "num_frames": 4,
    "image_size": 32,
    "id2label": {"1": "sit", "0": "run", "2": "go"},
}
PREPROCESSOR = {
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.5, 0.5, 0.4],
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 32, "width": 32},
}


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def state_of(model, source):
    """The tensors of a model by another project's names; joined ones in their parts."""
    names, found = key_map(model, source=source), {}
    whole = ("query", "key", "value") if source == "transformers" else ()
    biases = ("query.bias", "value.bias") if source == "transformers" else ("q_bias", "v_bias")
    for name, value in model.state_dict().items():
        theirs, parts = names.theirs(name), np.split(value.numpy(), 3) if ".qkv." in name else []
        if theirs.endswith("qkv.bias"):
            found |= {theirs.replace("qkv.bias", part): v for part, v in zip(biases, parts[::2], strict=True)}
        elif parts and whole:
            found |= {theirs.replace("qkv", part): v for part, v in zip(whole, parts, strict=True)}
        else:
            found[theirs] = value.numpy()
    return found


@pytest.fixture
def hub(tmp_path):
    """A folder as it comes from a hub."""
    model = create_model("videomae", num_classes=3, norm_eps=1e-12, pooled_eps=1e-5, **VIDEOMAE)
    save_file(state_of(model, "transformers"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return tmp_path


def test_a_folder_of_a_hub_needs_no_arguments(hub):
    out = hub / "out.safetensors"
    told = run("import", hub / "model.safetensors", "--out", out)
    assert told.exit_code == 0, told.output
    saved = read(out)
    assert saved.class_names == ("run", "sit", "go")
    model, spec = saved.section("model"), saved.section("input")
    assert {key: model[key] for key in VIDEOMAE} == VIDEOMAE
    assert (model["name"], model["norm_eps"], model["pooled_eps"]) == ("videomae", 1e-12, 1e-5)
    assert (spec["mean"], spec["std"]) == ([0.1, 0.2, 0.3], [0.5, 0.5, 0.4])
    assert (spec["short_side_px"], spec["crop_px"], spec["num_frames"]) == (40, 32, 4)
    assert (spec["sampling"], spec["frame_stride"]) == ("dense", 4)  # of the usual recipe


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", {**CONFIG, "id2label": {"x": "run"}}, r"config.json: does not describe a model of .* invalid"),
        ("config.json", {**CONFIG, "id2label": ["run"]}, r"config.json: does not describe a model of `transformers`"),
        ("preprocessor_config.json", {"image_mean": 3}, r"config.json: does not describe a model of `transformers`"),
        ("preprocessor_config.json", {"size": {}}, r"does not describe a model of `transformers` \(KeyError"),
    ],
)
def test_damaged_configurations(hub, name, content, told):
    (hub / name).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=told):
        read_description(hub)


@pytest.mark.parametrize("content", [{"model_type": "bert"}, {}, [1, 2]])
def test_configurations_of_other_models_are_not_read(hub, content):
    (hub / "config.json").write_text(json.dumps(content))
    assert read_description(hub) is None


def test_ten_outputs_of_a_larger_data_set_can_be_kept():
    model = create_model("videomae", num_classes=710, **VIDEOMAE)
    state = state_of(model, "videomae")
    assert find_layout(state) == [("videomae", "videomae")]
    labels = label_set("kinetics400")
    args = {"num_heads": 2, "num_frames": 4, "crop_px": 32}
    imported = import_model(state, source="videomae", name="videomae", args=args, labels=labels)
    assert imported.class_names == labels.class_names and imported.model.num_classes == 400
    rows = labels.rows_of(710)
    clip = torch.randn(1, *model.input_shape)
    torch.testing.assert_close(imported.model(clip), model.eval()(clip)[:, rows])
    whole = import_model(
        state, source="videomae", name="videomae", args=args, labels=label_set("kinetics710_videomae2")
    )
    assert whole.class_names[rows[0]] == "abseiling" and whole.model.num_classes == 710


def test_an_encoder_alone_gives_features_and_starts_a_probe(tmp_path):
    sizes = {"width": 24, "depth": 1, "num_heads": 2, "num_frames": 4, "crop_px": 32}
    encoder = create_model("vjepa2", num_classes=0, pooling="mean", **sizes)
    nested = {"encoder": {}, "target_encoder": {}, "predictor": {"x": torch.zeros(2)}, "epoch": 3}
    for name, value in encoder.state_dict().items():
        nested["target_encoder"][f"module.backbone.{name}"] = value
        nested["encoder"][f"module.backbone.{name}"] = value + 1
    torch.save(nested, tmp_path / "vit.pt")
    out = tmp_path / "out.safetensors"
    told = run("import", tmp_path / "vit.pt", "num_heads=2", "num_frames=4", "crop_px=32", "--out", out)
    assert told.exit_code == 0, told.output
    saved = read(out)
    assert saved.class_names == () and saved.section("model")["pooling"] == "mean"
    assert torch.equal(saved.model["norm.weight"], encoder.norm.weight)

    from videozoo.engine.run import load_weights
    from videozoo.tasks.build import build_task

    record = {"model": {"name": "vjepa2", **sizes}, "task": {"name": "classify"}, "input": saved.section("input")}
    probe = build_task(record, ("a", "b"))
    lines = load_weights(probe, saved)
    assert torch.equal(probe.model.norm.weight, encoder.norm.weight)
    assert "at random" in lines[1] and "head.bias" in lines[1]


def test_an_encoder_and_its_classifier_in_two_files(tmp_path):
    sizes = {"width": 32, "depth": 1, "num_heads": 2, "num_frames": 4, "crop_px": 32}
    model = create_model("vjepa2", num_classes=174, pooler_heads=16, pooler_depth=1, **sizes)
    state = {f"module.{key_map_name(name)}": value for name, value in model.state_dict().items()}
    classifier = {name: value for name, value in state.items() if name.startswith(("module.pooler", "module.linear"))}
    torch.save({"target_encoder": {k: v for k, v in state.items() if k not in classifier}}, tmp_path / "vit.pt")
    torch.save({"classifiers": [classifier], "epoch": 1}, tmp_path / "probe.pt")
    out = tmp_path / "out.safetensors"
    told = run(
        "import", tmp_path / "vit.pt", "--with", tmp_path / "probe.pt", "num_heads=2", "num_frames=4", "crop_px=32",
        "pooler_depth=1", "--labels", "ssv2", "--out", out,
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    saved = read(out)
    assert saved.class_names == label_set("ssv2").class_names
    assert saved.section("model")["pooler_eps"] == 1e-5
    assert torch.equal(saved.model["pooler.query_tokens"], model.pooler.query_tokens)


def key_map_name(name):
    return name.replace("head.", "linear.")
