"""`videozoo verify`: an export that agrees passes, and any difference is found."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.contract.made_runs import SENTENCE, write_run
from videozoo.cli.main import app
from videozoo.errors import ConfigError
from videozoo.export.export import export_network
from videozoo.export.verify import compare
from videozoo.loading import open_network
from videozoo.runtimes.folder import stored_file
from videozoo.runtimes.network import open_exported

onnx = pytest.importorskip("onnx")


def verified(*args):
    return CliRunner().invoke(app, ["verify", *map(str, args)])


def shifted(exported, folder, by):
    """A copy of an export whose scores are larger by `by` (one number a class)."""
    shutil.copytree(exported, folder)
    model = onnx.load(folder / "main.onnx")
    (node,) = (node for node in model.graph.node if "scores" in node.output)
    node.output[list(node.output).index("scores")] = "scores_before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(by, np.float32), "by"))
    model.graph.node.append(onnx.helper.make_node("Add", ["scores_before", "by"], ["scores"]))
    onnx.save(model, folder / "main.onnx")
    told = json.loads((folder / "network.json").read_text())
    told["graphs"]["main"]["files"] = [stored_file(folder / "main.onnx")]
    (folder / "network.json").write_text(json.dumps(told))
    return folder


def test_an_export_agrees_with_its_run(run, exported, clip):
    done = verified(exported, clip, "--against", run, "--window", 1)
    assert done.exit_code == 0, done.output
    assert "same best answer 1 of 1" in done.output
    (found,) = compare(open_network(run, device="cpu"), open_network(exported), [clip], window_s=1.0)
    assert found.difference < 1e-4 and found.has_same_best
    assert len(found.best[0]) == 1 + 5 and all(seconds > 0 for seconds in found.seconds)


def test_a_difference_is_found(run, exported, clip, tmp_path):
    other = shifted(exported, tmp_path / "other", [0.01] * 5)  # of all scores: the answers stay as they are
    done = verified(other, clip, "--against", run, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert not told["passes"] and told["videos"][0]["same_best"]
    assert 1e-3 < told["videos"][0]["difference"] <= 0.0101
    assert verified(other, clip, "--against", run, "--tolerance", 0.1).exit_code == 0


def test_another_best_answer_is_found(run, exported, clip, tmp_path):
    (before,) = compare(open_network(run, device="cpu"), open_network(exported), [clip])
    least = ["class 0", "class 1"][before.best[0][0] == "class 0"]
    by = [1000.0 * (f"class {i}" == least) for i in range(5)]
    other = shifted(exported, tmp_path / "other", by)
    done = verified(other, clip, "--against", run, "--tolerance", 1e9)
    assert done.exit_code == 1
    assert f"{before.best[0][0]} and {least}" in done.output and "same best answer 0 of 1" in done.output


def test_other_weights_are_named(exported, clip, tmp_path):
    other = write_run("tsm", tmp_path / "run")
    with pytest.raises(ConfigError, match=r"was exported from tsn with weights \w+, and .*run/best\.pt holds tsm"):
        list(compare(open_network(other, device="cpu"), open_network(exported), [clip]))


def test_a_video_that_cannot_be_read_fails(run, exported, clip, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    done = verified(exported, tmp_path / "broken.mp4", clip, "--against", run, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [row["video"] for row in told["videos"]] == [str(clip)]
    assert len(told["failed"]) == 1 and "broken.mp4" in told["failed"][0]


def test_nothing_is_summed_up_where_no_video_can_be_read(run, exported, tmp_path):
    done = verified(exported, tmp_path / "none.mp4", "--against", run)
    assert done.exit_code == 1
    assert "none.mp4: there is no such file" in done.output
    assert "largest difference" not in done.output


def test_extractors_are_compared_too(localizer, exported_localizer, clip):
    done = verified(exported_localizer, clip, "--against", localizer)
    assert done.exit_code == 0, done.output
    assert verified(exported_localizer, clip, "--against", localizer, "--tolerance", 0).exit_code == 1


def test_grounding_asks_a_sentence(tmp_path):
    run = write_run("tall", tmp_path / "run")
    out = open_exported(export_network(run, tmp_path / "out", runtime="torch"), trusted=True)
    network = open_network(run, device="cpu")
    with pytest.raises(ConfigError, match="--query: is missing; the network answers sentences, so give one"):
        list(compare(network, out, []))
    assert list(compare(network, out, [], query=SENTENCE)) == []
