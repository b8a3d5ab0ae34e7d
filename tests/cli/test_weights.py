"""`videozoo import`, `export`, `info` and `list weights`, from foreign names to an answer and a fine-tuned run."""

from __future__ import annotations

import json

import pytest
import torch
from torch.testing import assert_close
from typer.testing import CliRunner

from tests.models.test_tsn import narrow
from videozoo.cli.main import app
from videozoo.errors import ConfigError, WeightsError
from videozoo.models import create_model
from videozoo.tasks.build import task_from_checkpoint
from videozoo.weights import checkpoint, convert
from videozoo.weights.importer import key_map

ARGS = [
    "backbone=resnet18",
    "backbone_args={layers: [1, 1, 1, 1], channels: [8, 16, 24, 32]}",
    "crop_px=32",
    "input.short_side_px=32",
]


def run(*args):
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def foreign(tmp_path):
    """(a file with the names of TSM's authors, the model that it must become)"""
    model = narrow("tsm")
    names = key_map(model, source="mit_tsm")
    state = {names.theirs(k): v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "mit.pth.tar")
    return tmp_path / "mit.pth.tar", convert(model, state, source="mit_tsm")


def test_import_then_load_then_export(foreign, tmp_path):
    path, model = foreign
    labels, out = tmp_path / "labels.txt", tmp_path / "w.safetensors"
    labels.write_text("".join(f"class {c}\n" for c in "abcdefg"))
    done = run("import", path, "--model", "tsm", "--source", "mit_tsm", "--labels", labels, "--out", out, *ARGS)
    assert "tsm with 7 classes, 67 tensors from" in done.stdout
    saved = checkpoint.read(out)
    assert saved.class_names[0] == "class a" and saved.record["input"]["crop_px"] == 32
    assert saved.record["input"]["num_frames"] == 8 and saved.record["task"]["name"] == "classify"

    from videozoo.loading import load

    predictor = load(out, device="cpu")
    clip = torch.randn(1, 8, 3, 32, 32)
    with torch.no_grad():
        assert_close(predictor.network.backend.task.model(clip), model(clip), atol=1e-6, rtol=1e-5)
    answer = predictor(torch.randint(0, 255, (12, 3, 40, 48), dtype=torch.uint8).numpy(), fps=12.0)
    assert answer.answer.names[0] == "class a"

    exported = run("export", out, "--format", "paddle", "--out", tmp_path / "x.pdparams")
    assert "67 arrays with the names of paddlevideo" in exported.stdout
    again = convert(narrow("tsm"), tmp_path / "x.pdparams").eval()
    assert torch.equal(again(clip), model(clip))
    run("export", out, "--out", tmp_path / "copy.safetensors")
    assert checkpoint.read(tmp_path / "copy.safetensors").record == saved.record


def test_another_number_of_classes_drops_the_head(foreign, tmp_path):
    from videozoo.engine.run import load_weights
    from videozoo.tasks.build import build_task

    path, model = foreign
    run("import", path, "--model", "tsm", "--source", "mit_tsm", "--out", tmp_path / "w.safetensors", *ARGS)
    saved = checkpoint.read(tmp_path / "w.safetensors")
    task = build_task(saved.record, ("x", "y"))
    told = load_weights(task, saved)
    assert told[1] == "left out, because the number of classes changed from 7 to 2: head.bias, head.weight"
    assert torch.equal(task.model.backbone.conv1.weight, model.backbone.conv1.weight)


def test_what_does_not_fit_is_listed_and_nothing_is_written(foreign, tmp_path):
    out = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match=r"does not fit tsn \(4 missing, 4 unmatched, listed above\)"):
        run("import", foreign[0], "--model", "tsn", "--source", "mit_tsm", "--out", out, *ARGS)
    assert not out.exists()
    with pytest.raises(WeightsError, match="the weights have 7 classes, but 1 labels are given; give one each"):
        (tmp_path / "one.txt").write_text("only\n")
        run(
            "import", foreign[0], "--model", "tsm", "--source", "mit_tsm", "--out", out, "--labels",
            tmp_path / "one.txt", *ARGS,
        )  # fmt: skip


def test_mistakes(foreign, tmp_path):
    out = tmp_path / "w.safetensors"
    with pytest.raises(ConfigError, match=r"a name ending in \.safetensors"):
        run("import", foreign[0], "--out", tmp_path / "w.pt")
    with pytest.raises(
        ConfigError, match=r"cannot tell which project .* comes from; give --source hiera\|mit_tsm\|mmaction2"
    ):
        run("import", foreign[0], "--model", "tsm", "--out", out)
    with pytest.raises(ConfigError, match="cannot tell which model these weights belong to"):
        run("import", foreign[0], "--source", "mit_tsm", "--out", out)
    with pytest.raises(WeightsError, match=r"there is no such card; did you mean 'tsm\.k400'"):
        run("import", "tsm_k400", "--out", out)
    with pytest.raises(ConfigError, match="is not an argument; write key=value"):
        run("import", foreign[0], "fit.x=1", "--out", out)
    with pytest.raises(ConfigError, match=r"the format paddle is written to a name ending in \.pdparams"):
        run("export", out, "--format", "paddle", "--out", out)


def test_localizers_come_with_a_recipe(tmp_path):
    """Networks without classes, and BSN, whose two networks were published apart and of which one has a layer more."""
    rating = {"hidden_layer": False}
    tem, pem = (
        create_model("bsn_tem", feature_dim=128, num_snippets=80, hidden_dim=64),
        create_model("bsn_pem", **rating),
    )
    for model in (tem, pem):
        names = key_map(model, source="paddlevideo1")
        state = {names.theirs(name): value for name, value in model.state_dict().items()}
        flat = {name: value[:, :, None] if value.ndim == 3 else value.t() for name, value in state.items()}
        unread = {"fc_0.w_0": torch.zeros(32, 128)} if model is pem else {}
        torch.save(flat | unread, tmp_path / f"{model.name}.pt")
    first, second, out = tmp_path / "bsn_tem.pt", tmp_path / "bsn_pem.pt", tmp_path / "w.safetensors"
    (tmp_path / "labels.txt").write_text("dive\nrun\n")
    args = ("--source", "paddlevideo1", "--recipe", "motion/bsn", "--out", out, "hidden_layer=false")
    done = run("import", first, "--with", second, *args, "--labels", tmp_path / "labels.txt")
    assert done.exit_code == 0, done.output
    assert "bsn with 2 classes, 8 tensors" in done.output and "not needed: fc_0.w_0" in done.output
    found, _ = task_from_checkpoint(checkpoint.read(out))
    assert found.class_names == ("dive", "run") and found.stage == "pem"
    assert torch.equal(found.model.tem.base[0].weight, tem.base[0].weight)
    assert torch.equal(found.model.pem.head.weight, pem.head.weight)
    with pytest.raises(WeightsError, match=r"bsn_tem\.pt: does not fit bsn \(2 missing, listed above\)"):
        run("import", first, *args)
    with pytest.raises(WeightsError, match=r"--with .*: has tensors that are also in .* \(Base_1\.b_0"):
        run("import", first, "--with", first, *args)


def test_info_counts(tmp_path):
    found = json.loads(run("info", "tsm", "num_classes=7", *ARGS[:3], "--json").stdout)
    model = narrow("tsm")
    assert found["num_params"] == sum(p.numel() for p in model.parameters())
    assert found["input_shape"] == [8, 3, 32, 32] and found["saved_bytes"] > 0
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert layers["backbone.conv1"]["flops"] == 2 * 8 * 16 * 16 * 64 * 3 * 7 * 7
    assert layers["head"]["output_shape"] == [7] and layers["head"]["flops"] == 2 * 32 * 7
    text = run("info", "tsm", *ARGS[:3], "--depth", "1").stdout
    assert "8 x 3 x 32 x 32 (t c h w)" in text and "backbone.conv1" not in text


def test_list_weights_shows_what_was_published():
    text = "".join(run("list", "weights").stdout.split())
    assert "pptsm.k400_uniform" in text and "74.54" in text and "ppTSM_k400_uniform.pdparams" in text
