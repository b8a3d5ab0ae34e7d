"""Runs on stored features: whose recipe they are of, and what makes them of a video afterwards, stay with the run."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from tests.contract.tiny import TINY
from videozoo.config.recipe import Recipe, load_recipe
from videozoo.contracts.features import Features
from videozoo.data.feature_dataset import FeatureDataset, StoredRecord
from videozoo.data.registry import datasets
from videozoo.engine.evaluate_run import EvalOptions, evaluate_run
from videozoo.engine.resolve import check_width
from videozoo.engine.run import train
from videozoo.engine.sizes import model_sizes
from videozoo.errors import ConfigError, DataError
from videozoo.io.encode import write_video
from videozoo.io.features import FeatureStore, write_features
from videozoo.loading import load, load_extractor
from videozoo.metrics.youtube8m import YouTube8M
from videozoo.models.model import VideoModel
from videozoo.models.registry import create_model, models
from videozoo.predict.extraction import extract_all, video_ids
from videozoo.tasks.registry import tasks
from videozoo.tasks.tag import Tag
from videozoo.transforms.input import ClipInput, build_input
from videozoo.weights import checkpoint


class MeanTagger(VideoModel):
    def __init__(self, *, num_classes: int = 2):
        super().__init__()
        self.num_classes, self.num_features = num_classes, 32
        self.head = nn.Linear(32, num_classes)

    def forward(self, x, mask):
        return self.head((x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledVideo(StoredRecord):
    labels: tuple[int, ...]


class LabeledVideos(FeatureDataset[LabeledVideo]):
    multi_label = True
    truth = frozenset({"labels"})


def stored(path: Path) -> LabeledVideos:
    store = FeatureStore(path)
    return LabeledVideos(("a", "b"), [labeled(id_, i % 2, store) for i, id_ in enumerate(store.ids)], store)


def labeled(id_: str, label: int, store: FeatureStore) -> LabeledVideo:
    return LabeledVideo(id=id_, labels=(label,), store=store, key=id_)


class TagMean(Tag):
    def metrics(self):
        return [YouTube8M(self.class_names, top_k=2)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Videos, and two sets of features of them: `near` by windows of 1 s, `far` by windows of 2 s."""
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    net = create_model("tsm", **TINY["tsm"])
    spec = ClipInput(num_frames=4, short_side_px=32, crop_px=32)
    record = {"model": {"name": "tsm", **TINY["tsm"]}, "task": {"name": "classify"}, "input": spec.to_dict()}
    content = {"record": record, "class_names": tuple("abcde"), "model": net.state_dict(), "step": 1}
    checkpoint.write(folder / "run" / "best.pt", content)
    (folder / "clips").mkdir()
    for number in range(4):
        coarse = np.random.default_rng(number).integers(0, 256, (20, 4, 4, 3))
        frames = np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)
        write_video(folder / "clips" / f"{number}.mp4", frames, fps=10, preset="ultrafast")
    videos = video_ids(sorted((folder / "clips").glob("*.mp4")))
    for name, window_s in (("near", 1.0), ("far", 2.0)):
        extract_all(
            load_extractor(folder / "run", window_s=window_s, stride_s=0.5, device="cpu"), videos, folder / name
        )
    return folder


@pytest.fixture
def recipe(place, monkeypatch):
    monkeypatch.setitem(models._entries, "mean_tagger", MeanTagger)
    monkeypatch.setitem(tasks._entries, "tag_mean", TagMean)
    monkeypatch.setitem(datasets._entries, "stored", stored)

    def make(*, train="near", val="near", duration="2st"):
        return Recipe(
            "tiny",
            {
                "model": {"name": "mean_tagger"},
                "task": {"name": "tag_mean"},
                "input": {"name": "features", "feature_dims": [32], "mid_bin": [True], "num_frames": 5},
                "optim": {"lr": 0.01},
                "fit": {
                    "duration": duration,
                    "batch_size": 2,
                    "num_workers": 0,
                    "tensorboard": False,
                    "device": "cpu",
                },
            },
            {
                "train": {"name": "stored", "path": str(place / train)},
                "val": {"name": "stored", "path": str(place / val)},
            },
        )

    return make


def test_from_a_video_to_features_to_a_model_to_a_video(place, recipe, tmp_path):
    result = train(recipe(), tmp_path / "run", progress=False)
    assert result.scores["num_scored"] == 4
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["features"]["window_s"] == 1.0
    for name in ("best.pt", "last.pt"):
        saved = checkpoint.read(tmp_path / "run" / name)
        assert saved.record["features"] == json.loads(json.dumps(FeatureStore(place / "near").recipe.to_dict()))
        assert saved.extractor.record["model"]["name"] == "tsm"
    predictor = load(tmp_path / "run", device="cpu")
    for id_ in ("0", "3"):
        by_video = predictor(place / "clips" / f"{id_}.mp4").labels.scores
        by_features = predictor(place / "near" / f"{id_}.npz").labels.scores
        np.testing.assert_allclose(by_video, by_features, atol=1e-6)


def test_a_runs_record_is_a_recipe(recipe, tmp_path):
    train(recipe(), tmp_path / "run", progress=False)
    again = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert train(again, tmp_path / "again", progress=False).step == 2


def test_features_of_another_width_are_refused_at_the_start(place, recipe, tmp_path):
    wide = recipe()
    wide.sections["input"]["feature_dims"] = [16]
    with pytest.raises(
        DataError,
        match=r"^tiny: data\.train: \S*near/0\.npz: 0: features have the widths \(32,\), but the "
        r"recipe says input\.feature_dims=\(16,\); give features of that width, or "
        r"set their width in the recipe's input$",
    ):
        train(wide, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    train(recipe(), tmp_path / "run", progress=False)
    for index, values in enumerate(np.zeros((4, 3, 5), np.float32)):
        write_features(tmp_path / "narrow", str(index), Features(values))
    with pytest.raises(
        DataError, match=r"data\.val: \S*narrow/0\.npz: 0: .*widths \(5,\).*; give features like those of the training"
    ):
        evaluate_run(tmp_path / "run", EvalOptions(device="cpu", data_args={"path": str(tmp_path / "narrow")}))


def test_a_sample_that_is_missing_does_not_tell_the_width(place, recipe):
    pipeline = build_input({**recipe().section("input"), "feature_dims": [16]}).train_pipeline()
    store = FeatureStore(place / "near")
    records = [labeled("gone", 0, store), labeled("2", 0, store)]
    check_width(records[:1], pipeline, where="here", advice="")
    with pytest.raises(DataError, match=r"here: \S*near/2\.npz: 2: features have the widths \(32,\)"):
        check_width(records, pipeline, where="here", advice="")


def test_the_model_is_as_wide_as_the_input_says(recipe):
    spec = build_input(recipe().section("input"))
    nextvlad = dataclasses.replace(recipe(), sections={**recipe().sections, "model": {"name": "nextvlad"}})
    assert model_sizes(nextvlad, spec) == {"num_frames": 5, "feature_dims": [32]}
    nextvlad.sections["model"]["feature_dims"] = [1024, 128]
    with pytest.raises(
        ConfigError, match=r"model\.feature_dims: is \[1024, 128\] but input\.feature_dims is \[32\]; set"
    ):
        model_sizes(nextvlad, spec)


def test_validation_on_other_features_is_refused(recipe, tmp_path):
    with pytest.raises(DataError, match=r"tiny: data\.val: .*2 s every 0\.5 s; expected .*1 s every 0\.5 s \(differ"):
        train(recipe(val="far"), tmp_path / "run", progress=False)


def test_evaluation_on_other_features_is_refused(place, recipe, tmp_path):
    train(recipe(), tmp_path / "run", progress=False)
    assert evaluate_run(tmp_path / "run", EvalOptions(device="cpu")).num_scored == 4
    saved = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    saved["record"]["data"]["val"]["path"] = str(place / "far")
    torch.save(saved, tmp_path / "run" / "best.pt")
    with pytest.raises(DataError, match=r"data\.val: .*2 s every 0\.5 s; expected .*1 s"):
        evaluate_run(tmp_path / "run", EvalOptions(device="cpu"))


def test_a_run_goes_on_with_the_same_features_only(place, recipe, tmp_path):
    train(recipe(), tmp_path / "run", progress=False)
    same = train(recipe(), tmp_path / "run", resume=True, progress=False)
    assert same.step == 2
    with pytest.raises(ConfigError, match=r"was written with a different recipe; .*features\.window_s: 1\.0, 2\.0"):
        train(recipe(train="far", val="far"), tmp_path / "run", resume=True, progress=False)


def test_weights_start_a_run_on_other_features(recipe, tmp_path):
    train(recipe(), tmp_path / "run", progress=False)
    far = recipe(train="far", val="far")
    train(far, tmp_path / "far", init=tmp_path / "run", progress=False)
    assert checkpoint.read(tmp_path / "far").record["features"]["window_s"] == 2.0


def test_extracted_clips_of_class_folders_need_no_recipe(place, tmp_path):
    for index, clip in enumerate(sorted((place / "clips").glob("*.mp4"))):
        folder = tmp_path / "clips" / ("near" if index % 2 else "far")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder)
    extractor = load_extractor(place / "run", window_s=1.0, stride_s=0.5, device="cpu")
    extract_all(extractor, video_ids(sorted((tmp_path / "clips").rglob("*.mp4"))), tmp_path / "f")
    overrides = ["fit.batch_size=2", "fit.duration=1ep", "fit.tensorboard=false", "fit.device=cpu"]
    result = train(load_recipe(tmp_path / "f", overrides), tmp_path / "own", progress=False)
    assert result.scores["num_scored"] == 2
    predictor = load(tmp_path / "own", device="cpu")
    assert predictor.class_names == ("far", "near")
    by_video = predictor(place / "clips" / "1.mp4").labels.scores
    np.testing.assert_allclose(by_video, predictor(tmp_path / "f" / "1.npz").labels.scores, atol=1e-5)
