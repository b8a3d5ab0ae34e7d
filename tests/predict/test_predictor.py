import numpy as np
import pytest
import torch
from PIL import Image

from tests.predict.conftest import FPS, LEVELS, NAMES, SPEC, GreyMeter, NameGrey, grey_frames
from videozoo.contracts.answer import Labels
from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, DataError, DecodeError, WeightsError
from videozoo.loading import load, load_extractor
from videozoo.predict import windows
from videozoo.predict.predictor import Predictor
from videozoo.predict.windows import window_times
from videozoo.tasks.network import torch_network
from videozoo.weights import checkpoint


@pytest.fixture
def predictor():
    return Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu"))


def info(duration_s, fps=10.0):
    return VideoInfo("a.mp4", duration_s, fps, None, 64, 48, 0, "h264", "yuv420p", 0.0, 1000)


def best(prediction):
    return [window.labels.best for window in prediction.windows]


# ---- loading ----


def test_a_run_directory_a_checkpoint_and_published_weights_answer_alike(run, grey_video, tmp_path):
    content = checkpoint.read(run)
    published = tmp_path / "published.safetensors"
    checkpoint.write_safetensors(published, record=content.record, class_names=content.class_names, model=content.model)
    video = grey_video("a.mp4", [2])
    answers = [load(path, device="cpu")(video).labels for path in (run, run / "best.pt", published)]
    assert [a.best for a in answers] == ["light"] * 3
    assert answers[0].names == NAMES
    np.testing.assert_array_equal(answers[0].scores, answers[2].scores)


def test_weights_of_a_training_that_diverged(run):
    content = checkpoint.read(run)
    state = {name: value.clone().float() * float("nan") for name, value in content.model.items()}
    named = {"record": content.record, "class_names": list(content.class_names)}
    checkpoint.write(run / "best.pt", {**named, "model": state})
    for use in (load, load_extractor):
        with pytest.raises(
            WeightsError, match=r"best\.pt: the model's scores are nan, since .*; use a checkpoint from"
        ):
            use(run, device="cpu")


def test_scores_that_overflow_are_refused(predictor, grey_video, monkeypatch):
    broken = {"scores": np.array([[np.nan] * len(NAMES)], np.float32)}
    monkeypatch.setattr(predictor.network.backend, "outputs", lambda batch, graph="main": broken)
    with pytest.raises(DataError, match=r"a\.mp4: the model's scores are nan; check its weights, or use --precision"):
        predictor(grey_video("a.mp4", [2]))


def test_there_is_no_such_run(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing: there is no such file or run directory"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, r"device: there is no device 'toaster'; write auto, cpu, cuda"),
        ({"precision": "int3"}, r"precision: there is no 'int3'; accepted: bf16, fp16, fp32"),
        ({"views": "ten"}, r"input\.views: is 'ten'; write clips x crops"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        views = options.pop("views", None)
        Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, **{"device": "cpu", **options}), views=views)


# ---- the whole video ----


@pytest.mark.parametrize("grey", range(4))
def test_the_answer_is_the_tasks_typed_value(predictor, grey_video, grey):
    video = grey_video("a.mp4", [grey])
    prediction = predictor(video)
    assert isinstance(prediction.answer, Labels)
    assert prediction.labels.best == NAMES[grey]
    assert prediction.id == str(video)
    assert prediction.info.duration_s == pytest.approx(1.0)
    assert prediction.windows == ()


def test_all_of_the_video_is_looked_at(predictor, grey_video):
    predictor(grey_video("a.mp4", [0, 1, 2, 3]))
    (batch,) = predictor.network.backend.task.batches
    greys = batch[0, 0].mean((1, 2, 3)) * 255
    assert greys.tolist() == pytest.approx(LEVELS, abs=3)


def test_views_make_more_clips_of_one_answer(grey_video):
    predictor = Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu"), views="2x3")
    assert predictor(grey_video("a.mp4", [1])).labels.best == "dim"
    assert predictor.network.backend.task.batches[0].shape == (1, 6, 4, 3, 16, 16)


def test_mixed_precision(grey_video):
    predictor = Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu", precision="bf16"))
    assert predictor(grey_video("a.mp4", [3])).labels.best == "bright"


# ---- windows ----


def test_labels_over_time(predictor, grey_video):
    video = grey_video("a.mp4", [0, 1, 2, 3, 0])
    prediction = predictor(video, window_s=1.0, stride_s=1.0)
    assert best(prediction) == ["dark", "dim", "light", "bright", "dark"]
    assert [(w.start_s, w.end_s) for w in prediction.windows] == [(k, k + 1) for k in range(5)]
    whole = predictor(video)
    np.testing.assert_array_equal(prediction.labels.scores, whole.labels.scores)


@pytest.mark.parametrize(
    ("duration_s", "window_s", "stride_s", "times"),
    [
        (4.0, 2.0, 1.0, [(0, 2), (1, 3), (2, 4)]),
        (4.5, 2.0, 1.0, [(0, 2), (1, 3), (2, 4), (2.5, 4.5)]),
        (4.02, 2.0, 1.0, [(0, 2), (1, 3), (2, 4)]),  # less than a frame is left
        (1.5, 2.0, 1.0, [(0, 1.5)]),
        (10.0, 1.0, 4.0, [(0, 1), (4, 5), (8, 9), (9, 10)]),
        (0.0001, 2.0, 1.0, [(0, 0.0001)]),
    ],
)
def test_windows_cover_the_video(duration_s, window_s, stride_s, times):
    found = window_times(info(duration_s), window_s, stride_s)
    assert np.array(found).ravel() == pytest.approx(np.array(times).ravel())


def test_a_video_shorter_than_the_window_is_one_window(predictor, grey_video):
    prediction = predictor(grey_video("a.mp4", [2]), window_s=5.0)
    assert best(prediction) == ["light"]
    assert prediction.windows[0].end_s == pytest.approx(1.0)
    np.testing.assert_array_equal(prediction.windows[0].labels.scores, prediction.labels.scores)


def test_windows_go_through_the_model_in_batches(predictor, grey_video):
    video = grey_video("a.mp4", [0, 1, 2])
    prediction = predictor(video, window_s=1.0, stride_s=0.5, batch_size=3)
    assert [len(batch) for batch in predictor.network.backend.task.batches] == [1, 3, 2]
    one_by_one = predictor(video, window_s=1.0, stride_s=0.5, batch_size=1)
    for a, b in zip(prediction.windows, one_by_one.windows, strict=True):
        np.testing.assert_allclose(a.labels.scores, b.labels.scores, rtol=1e-6)


def test_windows_are_the_same_by_sliding_and_by_seeking(predictor, grey_video, monkeypatch):
    video = grey_video("a.mp4", [3, 0, 2, 1])
    sliding = predictor(video, window_s=0.7, stride_s=0.3)
    seen = torch.cat(predictor.network.backend.task.batches)
    predictor.network.backend.task.batches.clear()
    monkeypatch.setattr(windows, "HELD_BYTES", 0)
    seeking = predictor(video, window_s=0.7, stride_s=0.3)
    assert len(sliding.windows) == len(seeking.windows) == 12
    assert torch.equal(seen, torch.cat(predictor.network.backend.task.batches))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_s": 0.0}, r"window_s: got 0\.0; needs seconds above 0"),
        ({"window_s": 1.0, "stride_s": -1.0}, r"stride_s: got -1\.0; needs seconds above 0"),
        ({"window_s": float("nan")}, r"window_s: got nan"),
        ({"stride_s": 1.0}, r"stride_s: got 1\.0 without a window; give window_s"),
        ({"batch_size": 0}, r"batch_size: got 0; needs at least 1"),
        ({"fps": 0.0}, r"fps: got 0\.0; needs a rate above 0"),
    ],
)
def test_wrong_arguments(predictor, grey_video, options, message):
    with pytest.raises(ConfigError, match=message):
        predictor(grey_video("a.mp4", [0]), **options)


# ---- what a video can be ----


def test_frames_in_memory_and_in_a_folder(predictor, tmp_path):
    frames = grey_frames([0, 3], size=(20, 24))
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"img_{i + 1:05d}.png")
    by_time_last = torch.from_numpy(frames).permute(0, 3, 1, 2)
    for video in (frames, by_time_last, by_time_last.numpy(), tmp_path):
        prediction = predictor(video, fps=FPS, window_s=1.0, stride_s=1.0)
        assert best(prediction) == ["dark", "bright"]
        assert prediction.info.duration_s == pytest.approx(2.0)
        assert (prediction.info.width_px, prediction.info.height_px) == (24, 20)


def test_frames_have_no_rate_of_their_own(predictor, tmp_path):
    with pytest.raises(DataError, match=r"frames: frames need a rate; give it, e\.g\. fps=25"):
        predictor(grey_frames([0]))
    Image.new("RGB", (20, 20)).save(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"frames need a rate; give it, e\.g\. fps=25"):
        predictor(tmp_path)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 8, 8, 3), np.float32),
        np.zeros((4, 8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
    ids=["float", "four channels", "one frame", "no frame"],
)
def test_frames_of_another_form(predictor, frames):
    with pytest.raises(DataError, match=r"frames: got .*; needs uint8 \[t h w 3\] or \[t 3 h w\]"):
        predictor(frames, fps=25)


def test_a_broken_file(predictor, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"bad\.mp4: it cannot be opened as a video"):
        predictor(tmp_path / "bad.mp4")
