"""Decoding on the GPU: what is refused without one; with one, the frames of the CPU."""

import numpy as np
import pytest
import torch

from videozoo.contracts.record import ClipRecord
from videozoo.engine import run as engine_run
from videozoo.engine.distributed import World
from videozoo.engine.options import Fit
from videozoo.errors import ConfigError, MissingPackageError
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.transforms.input import ClipInput
from videozoo.transforms.tensors import resize, resize_rounded

GPU = World(device=torch.device("cuda", 0))
FIT = Fit(decode_device="cuda", num_workers=0)


def test_it_takes_the_training_process():
    with pytest.raises(ConfigError, match=r"fit\.num_workers: is 2; fit\.decode_device=cuda decodes in .* set 0"):
        Fit(decode_device="cuda")


def test_it_takes_a_gpu():
    with pytest.raises(ConfigError, match=r"fit\.decode_device: is cuda but the run is on cpu; set it to cpu"):
        engine_run._decoding(FIT, ClipInput(), World())


def test_it_takes_what_a_gpu_can_scale():
    with pytest.raises(
        ConfigError, match=r"fit\.decode_device: is cuda, which supports only .* input\.resize torch or float"
    ):
        engine_run._decoding(FIT, ClipInput(resize="pillow"), GPU)


def test_it_takes_torchcodec(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchcodec.decoders", None)
    with pytest.raises(MissingPackageError, match=r"fit\.decode_device=cuda: needs the package 'torchcodec\.decoders'"):
        engine_run._decoding(FIT, ClipInput(), GPU)


def test_pipelines_are_told(monkeypatch):
    monkeypatch.setattr(engine_run, "require", lambda *_, **__: None)
    pipeline = ClipInput().train_pipeline()
    assert engine_run._decoding(FIT, ClipInput(), GPU)(pipeline).device == "cuda:0"
    assert engine_run._decoding(Fit(), ClipInput(), GPU)(pipeline) is pipeline


def test_pyav_has_no_gpu(tmp_path):
    with pytest.raises(ConfigError, match=r"open_video\.device: is cuda:0, which PyAV does not support"):
        open_video(tmp_path / "a.mp4", decoder="pyav", device="cuda:0")


def test_scaling_without_a_kernel_for_bytes():
    clip = torch.randint(0, 256, (2, 3, 40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours, theirs = resize_rounded(clip, (16, 24)), resize(clip, (16, 24))
    assert ours.dtype == torch.uint8 and (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.gpu
def test_the_same_clip_on_the_gpu(tmp_path):
    pytest.importorskip("torchcodec")
    ramp = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (240, 320, 3))
    write_video(tmp_path / "a.mp4", [ramp // (i + 1) for i in range(8)], fps=10)
    spec, record = ClipInput(num_frames=4, short_side_px=128, crop_px=112), ClipRecord("a", tmp_path / "a.mp4", (0,))
    on_cpu = spec.train_pipeline()
    on_gpu = engine_run._decoding(FIT, spec, GPU)(on_cpu)
    ours, theirs = (pipeline(record, np.random.default_rng(0))["video"] for pipeline in (on_gpu, on_cpu))
    assert ours.is_cuda and ours.shape == theirs.shape
    assert (ours.cpu().int() - theirs.int()).abs().float().mean() < 3  # colours are converted by another route
