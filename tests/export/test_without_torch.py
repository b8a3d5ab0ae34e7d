"""Exported networks where torch cannot be imported: every answer that predict gives."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.contract.made_runs import SENTENCE, write_run
from tests.contract.tiny import TINY
from tests.slim import blocker
from tests.slim.test_commands import run as run_without_torch
from videozoo.export.export import export_network
from videozoo.io.features import FeatureStore
from videozoo.loading import load_extractor, load_searcher
from videozoo.predict.index import VideoIndex
from videozoo.transforms.moments import MomentsInput
from videozoo.weights import checkpoint


def predicted(*args):
    done = run_without_torch("predict", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_windows_as_json_and_subtitles(run, exported, clip, tmp_path):
    (found,) = json.loads(predicted(exported, clip, "--window", 1, "--json"))["predictions"]
    assert len(found["windows"]) == 5 and len(found["labels"]) == 5
    predicted(exported, clip, "--window", 1, "--out", tmp_path / "a.srt", "--plot", tmp_path / "a.png")
    assert "-->" in (tmp_path / "a.srt").read_text() and (tmp_path / "a.png").stat().st_size > 0


def test_segments_with_the_extractor_inside(exported_localizer, exported, clip):
    (found,) = json.loads(predicted(exported_localizer, clip, "--json", "--top", 3))["predictions"]
    assert len(found["segments"]) == 3
    named = predicted(exported, clip, "--segments", exported_localizer, "--top", 2, "--json")
    assert len(json.loads(named)["predictions"][0]["windows"]) == 2


def test_features_are_extracted_and_their_extractor_is_stored(exported, clip, tmp_path):
    times = ["--window", 1, "--stride", 0.5]
    done = run_without_torch("extract", exported, clip, "--out", tmp_path / "features", *times)
    assert done.returncode == 0, done.stderr
    stored = tmp_path / "features" / "extractor.safetensors"
    done = run_without_torch("extract", stored, clip, "--out", tmp_path / "again", *times)
    assert done.returncode == 0, done.stderr
    first, second = (FeatureStore(tmp_path / name) for name in ("features", "again"))
    assert first.extractor == stored and first.recipe == second.recipe
    np.testing.assert_array_equal(first.read("clip").values, second.read("clip").values)


@pytest.mark.parametrize("encoder", ["bag_of_words", pytest.param("minilm", marks=pytest.mark.long)])
def test_sentences_are_searched_in_an_index(run, clip, tmp_path, encoder):
    pytest.importorskip("pyarrow")
    extractor = load_extractor(run, device="cpu", window_s=0.5, stride_s=0.25)
    width = {"bag_of_words": TINY["tall"]["sentence_dim"], "minilm": 384}[encoder]
    searching = write_run(
        "tall",
        tmp_path / "run",
        beside={"extractor": checkpoint.extractor_payload(checkpoint.read(run))},
        args={"sentence_dim": width},
        features=extractor.recipe.to_dict(),
        input=MomentsInput(window_s=(1.0,), overlap=0.5, context_s=0.5, feature_dim=32).to_dict(),
        task={"name": "ground", "encoder": {"name": encoder} | ({"dim": width} if encoder == "bag_of_words" else {})},
    )
    exported = export_network(searching, tmp_path / "exported")
    done = run_without_torch("index", clip, "--run", exported, "--out", tmp_path / "index.parquet")
    assert done.returncode == 0, done.stderr
    done = run_without_torch("search", tmp_path / "index.parquet", SENTENCE, "--json")
    assert done.returncode == 0, done.stderr
    searcher = load_searcher(searching, device="cpu")
    wanted = searcher.ask(VideoIndex(searcher.run, (searcher.look(clip),)), SENTENCE, top=5)
    found = json.loads(done.stdout)["hits"]
    assert len(found) == len(wanted) > 2
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours["start_s"], ours["end_s"]) == pytest.approx((theirs.start_s, theirs.end_s), abs=1e-3)
        assert ours["score"] == pytest.approx(theirs.score, abs=1e-3)


def test_the_interface(exported, clip):
    code = (
        "import sys; from tests.slim import blocker; blocker.block(); import videozoo; "
        "print(videozoo.load(sys.argv[1])(sys.argv[2]).answer.best)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, exported, clip], capture_output=True, text=True, env=blocker.ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("class ")


def test_verify_says_that_it_needs_torch(run, exported, clip):
    done = run_without_torch("verify", exported, clip, "--against", run)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("run: pip install 'videozoo[torch]'") and "Traceback" not in done.stderr


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_export_says_that_it_needs_torch(run, tmp_path, format):
    done = run_without_torch("export", run, "--format", format, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: this command needs torch; run: pip install 'videozoo[torch]'"]
    assert not list(tmp_path.iterdir())
