"""The one path of inference: nothing is made before it is needed, times are those of the video, damage is counted."""

import itertools

import pytest
import torch

from tests.io.test_damage import spoiled
from tests.predict.conftest import FPS, NAMES, SPEC, FindGrey, GreyMeter, NameGrey, grey_frames
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.encode import write_video
from videozoo.predict.extractor import Extractor
from videozoo.predict.inference import answers, batches
from videozoo.predict.predictor import Predictor
from videozoo.tasks.network import torch_network


@pytest.fixture
def network():
    return torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu")


def sample(number):
    return {"id": str(number), "video": torch.zeros((1, 4, 3, 16, 16), dtype=torch.uint8)}


def test_samples_are_made_batch_by_batch(network):
    made = []
    samples = ((number, made.append(number) or sample(number)) for number in itertools.count())
    (places, outputs, batch) = next(batches(network, samples, batch_size=3))
    assert places == [0, 1, 2] == made
    assert outputs["scores"].shape[0] == 3 and batch["id"] == ["0", "1", "2"]
    answered = answers(network, samples, batch_size=2)
    place, answer = next(answered)
    assert (place, answer.best) == (3, "dark") and made == [0, 1, 2, 3, 4]


def test_batches_of_nothing_are_refused(network):
    with pytest.raises(ConfigError, match="batch_size: got 0; needs at least 1"):
        next(batches(network, [(0, sample(0))], batch_size=0))


def test_what_is_found_in_a_window_is_in_the_time_of_the_video(grey_video):
    predictor = Predictor(torch_network(FindGrey(GreyMeter(), NAMES), SPEC, device="cpu"))
    video = grey_video("a.mp4", [1, 0, 0, 0, 0, 0, 3, 3])
    first, second = predictor(video, window_s=4.0, stride_s=4.0).windows
    assert [(s.start_s, s.end_s, s.label) for s in first.answer.spans] == [(0, 1, "dim")]
    assert [(s.start_s, s.end_s, s.label) for s in second.answer.spans] == [(6, 8, "bright")]


@pytest.fixture
def endless(tmp_path):
    """A Matroska file of 4 s that states 99,999,999 hours."""
    path = tmp_path / "endless.mkv"
    write_video(path, grey_frames([0, 1, 2, 3]), fps=FPS)
    stated, absurd = b"00:00:04.000000000", b"99999999:00:00.000"
    content = path.read_bytes()
    assert stated in content
    path.write_bytes(content.replace(stated, absurd))
    return path


@pytest.mark.parametrize("window_s", [None, 1.0], ids=["whole", "windows"])
def test_an_absurd_duration_ends_at_the_last_frame(network, endless, window_s):
    message = r"endless\.mkv: the frame at .* cannot be decoded \(the file ends at 4\.00 s of 359999996400.* s\)"
    with pytest.raises(DecodeError, match=message):
        Predictor(network)(endless, window_s=window_s)
    with pytest.raises(DecodeError, match=message):
        Extractor(network, window_s=window_s)(endless)


def test_damage_counts_for_networks_on_features_too(tmp_path, network):
    class Sees(Predictor):
        takes_features = True
        extractor = Extractor(network, window_s=1.0)

    healthy, damaged = tmp_path / "a.mkv", spoiled(tmp_path / "bad.mkv", "libx264")
    write_video(healthy, grey_frames([0]), fps=FPS)
    predictor = Sees(network)
    assert predictor.features(healthy).damaged_frames == 0
    content = predictor.features(damaged)
    assert 1 <= content.damaged_frames <= 3 and len(content.features) > 1
