"""Features of synthetic videos for each frame: 1024 numbers of the picture and 128 of the sound, as in YouTube-8M."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.data.motion.features import FeatureKind
from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import CLASSES, Script, clip_script

__all__ = ["AUDIO_DIM", "AUDIO_RATE_HZ", "RGB_DIM", "frame_features", "sound_features"]

RGB_DIM, AUDIO_DIM = 1024, 128
AUDIO_RATE_HZ = 16_000
SEED = 8  # seed of all random weights here: the same on every machine
IMAGENET_PX = 128
SPREAD = 0.8  # standard deviation: few values lie beyond -2..2, the range of the bytes
NUM_SAMPLES = 256  # synthetic videos for means and deviations


def frame_features(frames: np.ndarray, kind: FeatureKind) -> np.ndarray:
    """Returns features float32 `[t 1024]` of RGB frames uint8 `[t h w 3]`, with mean 0 and equal spread.

    - random: two random convolutions of each pixel's saturation (which shows the shape), and one of the colours.
    - imagenet: EfficientNet-Lite0 at 128 px, pooled, and projected at random to 1024.

    Raises:
        WeightsError: the weights of "imagenet" are not available.
    """
    mean, std = _frame_statistics(kind)
    features: np.ndarray = (_raw_frame_features(frames, kind) - mean) * (SPREAD / std)
    return features


def sound_features(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """Returns features float32 `[num_frames 128]` of the sound (16 kHz) at each frame, with mean 0 over tones.

    They are the log magnitudes of 128 bands of 0..2 kHz, mixed at random, so that each feature depends on every pitch.
    """
    mean, std = _sound_statistics()
    features: np.ndarray = (_raw_sound_features(samples, num_frames) - mean) * (SPREAD / std)
    return features


def _raw_frame_features(frames: np.ndarray, kind: FeatureKind) -> np.ndarray:
    with torch.inference_mode():
        features: np.ndarray = _BACKBONES[kind]()(torch.from_numpy(frames).permute(0, 3, 1, 2).float()).numpy()
    return features


@functools.cache
def _frame_statistics(kind: FeatureKind) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each feature, independent of the world's seed."""
    features = _raw_frame_features(np.stack([next(render(script)) for script in _samples()]), kind)
    return features.mean(0), features.std(0) + 1e-3


def _samples() -> list[Script]:
    rng = np.random.default_rng(SEED)
    motions = [CLASSES[i % len(CLASSES)] for i in range(NUM_SAMPLES)]
    return [clip_script(rng, motion=motion, num_frames=1, fps=1, size_px=64) for motion in motions]


def _raw_sound_features(samples: np.ndarray, num_frames: int) -> np.ndarray:
    bands = []
    for part in np.array_split(samples, num_frames):
        spectrum = np.abs(np.fft.rfft(part, n=AUDIO_RATE_HZ))[: AUDIO_DIM * 16]  # 1 Hz each
        bands.append(np.log10(spectrum.reshape(AUDIO_DIM, -1).max(axis=1) / len(part) + 1e-4))
    mixing = np.random.default_rng(SEED).normal(0, AUDIO_DIM**-0.5, (AUDIO_DIM, AUDIO_DIM))
    return (np.stack(bands) @ mixing).astype(np.float32)


@functools.cache
def _sound_statistics() -> tuple[np.ndarray, np.ndarray]:
    sounds = [sound(script, rate_hz=AUDIO_RATE_HZ) for script in _samples()[: len(CLASSES)]]
    features = np.concatenate([_raw_sound_features(samples, 1) for samples in sounds])
    return features.mean(0), features.std(0) + 1e-3


@functools.cache
def _random_backbone() -> nn.Module:
    return _RandomBackbone()


class _RandomBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(SEED)
        self.coarse = _random_conv(rng, 1, 32, kernel=7, stride=4)
        self.fine = _random_conv(rng, 32, 384, kernel=5, stride=1)
        self.colour = _random_conv(rng, 3, RGB_DIM - 2 * 384, kernel=3, stride=4)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames / 255
        colourful = x.amax(1, keepdim=True) - x.amin(1, keepdim=True)
        shape = F.relu(self.fine(F.relu(self.coarse(4 * (colourful - 0.3)))))
        colour = F.relu(self.colour(2 * (x - 0.5)))
        return torch.cat([shape.amax((2, 3)), shape.mean((2, 3)), colour.amax((2, 3))], dim=1)


def _random_conv(rng: np.random.Generator, num_in: int, num_out: int, *, kernel: int, stride: int) -> nn.Conv2d:
    """Builds a random convolution whose filters have mean 0 and keep the input's scale."""
    layer = nn.Conv2d(num_in, num_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    weight = rng.normal(0, (2 / (num_in * kernel**2)) ** 0.5, tuple(layer.weight.shape))
    layer.weight.data = torch.from_numpy((weight - weight.mean((1, 2, 3), keepdims=True)).astype(np.float32))
    return layer


@functools.cache
def _imagenet_backbone() -> Callable[[Tensor], Tensor]:
    import timm

    from videozoo.weights.timm_images import LITE0, timm_checkpoint

    checkpoint = timm_checkpoint(LITE0)
    network = timm.create_model(LITE0, num_classes=0).eval()
    network.load_state_dict({name.removeprefix("backbone."): value for name, value in checkpoint.model.items()})
    rng = np.random.default_rng(SEED)
    width = int(network.num_features)  # type: ignore[arg-type]
    projection = rng.normal(0, width**-0.5, (width, RGB_DIM)).astype(np.float32)
    mean, std = (torch.tensor(checkpoint.record["input"][name]).view(3, 1, 1) for name in ("mean", "std"))

    def features(frames: Tensor) -> Tensor:
        frames = F.interpolate(frames / 255, size=(IMAGENET_PX, IMAGENET_PX), mode="bilinear", align_corners=False)
        pooled: Tensor = network((frames - mean) / std)
        return pooled @ torch.from_numpy(projection)

    return features


_BACKBONES: dict[FeatureKind, Callable[[], Callable[[Tensor], Tensor]]] = {
    "random": _random_backbone,
    "imagenet": _imagenet_backbone,
}
