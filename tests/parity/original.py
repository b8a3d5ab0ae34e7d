"""PaddleVideo's own networks as reference folders: sizes and depths that no stored folder has.

    python benchmarks/paddlevideo.py tsn                                     # makes the environment of its packages
    build/paddlevideo/bin/python -m tests.parity.original FOLDER [NAME...]   # writes FOLDER/NAME/
    python -m tests.parity FOLDER/*                                          # compares ours with them

PaddleVideo is ppvideo 2.3.1 under paddlepaddle 3.3.1, on the CPU. What it cannot build there is not listed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.rule import input2, param2

__all__ = ["fill", "network"]

GAIN = 0.7  # of the drawn parameters: outputs of all depths stay moderate
NUM_CLASSES = 11
REMOVED = ("", ".framework", ".core", ".layer_helper", ".dygraph", ".dygraph.layers", ".data_feeder")

VIT: dict[str, Any] = {
    "img_size": 64,
    "patch_size": 16,
    "in_channels": 3,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 4,
    "mlp_ratio": 4,
    "qkv_bias": True,
    "epsilon": 1e-6,
    "num_seg": 8,
    "attention_type": "divided_space_time",
}
SWIN: dict[str, Any] = {
    "patch_size": [2, 4, 4],
    "embed_dim": 24,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 4, 8],
    "window_size": [8, 7, 7],
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "drop_path_rate": 0.1,
    "patch_norm": True,
}


class _Gone(types.ModuleType):
    """Stands for what paddle has removed; the detectors that used it are not run here."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def network(config: Mapping[str, Any]) -> Any:
    """PaddleVideo's network of a recipe's `MODEL` section, freshly initialised."""
    warnings.filterwarnings("ignore")
    import paddle

    sys.modules |= {f"paddle.fluid{name}": _Gone(f"paddle.fluid{name}") for name in REMOVED}
    paddle.fluid = sys.modules["paddle.fluid"]
    paddle.device.is_compiled_with_npu = lambda: False
    import ppvideo  # its folder holds the package `paddlevideo`

    sys.path.insert(0, str(Path(ppvideo.__path__[0])))
    from paddlevideo.modeling.builder import build_model
    from paddlevideo.utils.config import AttrDict

    def attributes(value: Any) -> Any:
        return AttrDict({k: attributes(v) for k, v in value.items()}) if isinstance(value, Mapping) else value

    return build_model(attributes(config))


def fill(net: Any) -> list[tuple[str, list[int], str]]:
    """Gives a network its drawn parameters; name, shape and kind of every array of its state."""
    state = []
    for key, value in net.state_dict().items():
        state.append((key, list(value.shape), str(value.numpy().dtype)))
        if value.is_floating_point():
            value.set_value(param2(key, value.shape, gain=GAIN))
    return state


def variants() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    """(name, `MODEL` section, frames, height and width) of each."""

    def head(name: str, width: int = 2048, **more: Any) -> dict[str, Any]:
        return {"name": name, "num_classes": NUM_CLASSES, "in_channels": width, **more}

    def two_d(backbone: dict[str, Any], head: dict[str, Any]) -> dict[str, Any]:
        return {"framework": "Recognizer2D", "backbone": backbone, "head": head}

    for depth in (18, 34, 50, 101, 152):
        width = 512 if depth < 50 else 2048
        yield (
            f"pptsn_{depth}",
            two_d({"name": "ResNetTweaksTSN", "layers": depth}, head("ppTSNHead", width)),
            (3, 64, 64),
        )
        backbone = {"name": "ResNetTweaksTSM", "depth": depth, "num_seg": 8}
        yield f"pptsm_{depth}", two_d(backbone, head("ppTSMHead", width)), (8, 64, 64)
        if depth >= 50:
            yield f"tsn_{depth}", two_d({"name": "ResNet", "depth": depth}, head("TSNHead")), (3, 64, 64)
            yield (
                f"tsm_{depth}",
                two_d({"name": "ResNetTSM", "depth": depth, "num_seg": 8}, head("TSMHead")),
                (8, 64, 64),
            )
    yield "tsm_16f", two_d({"name": "ResNetTSM", "depth": 50, "num_seg": 16}, head("TSMHead")), (16, 64, 96)
    yield "pptsm_16f", two_d({"name": "ResNetTweaksTSM", "depth": 50, "num_seg": 16}, head("ppTSMHead")), (16, 96, 64)
    for name, version in (("pptsm_mobile_v2", "V2"), ("pptsm_mobile_v3", "V3")):
        for frames in (4, 8, 16):
            backbone = {"name": f"PPTSM_MobileNet{version}", "num_seg": frames, "class_num": NUM_CLASSES}
            yield f"{name}_{frames}f", two_d(backbone, {"name": "MoViNetHead"}), (frames, 96, 96)
    for weighted in (False, True):
        backbone = {"name": "PPTSM_v2", "num_seg": 16, "class_num": NUM_CLASSES, "use_temporal_att": weighted}
        yield f"pptsm_v2_16f_{weighted}", two_d(backbone, {"name": "MoViNetHead"}), (16, 64, 64)
    for causal in (False, True):
        for kind in ("3d", "2plus1d"):
            backbone = {"name": "MoViNet", "model_type": "A0", "num_classes": NUM_CLASSES}
            backbone |= {"causal": causal, "conv_type": kind}
            section = {"framework": "MoViNetRecognizerFrame", "backbone": backbone, "head": {"name": "MoViNetHead"}}
            yield f"movinet_{kind}{'_causal' if causal else ''}", section, (8, 64, 64)
    for alpha, kernel, multigrid in ((8, 5, False), (4, 7, False), (4, 7, True)):
        sizes = {"width_per_group": 64, "alpha": alpha, "beta": 8}
        section = {
            "framework": "Recognizer3D",
            "backbone": {"name": "ResNetSlowFast", "depth": 50, "fusion_kernel_sz": kernel, **sizes},
            "head": {
                "name": "SlowFastHead",
                "num_classes": NUM_CLASSES,
                "num_frames": 32,
                "crop_size": 64,
                "dropout_rate": 0.5,
                "multigrid_short": multigrid,
                **sizes,
            },
        }
        yield f"slowfast_alpha{alpha}{'_multigrid' if multigrid else ''}", section, (32, 64, 64)
    for name, (cls, top) in TRANSFORMERS.items():
        for attention in ("divided_space_time", "joint_space_time", "space_only"):
            for bias in (True, False):
                yield (
                    f"{name}_{attention.partition('_')[0]}{'' if bias else '_no_bias'}",
                    _transformer({**VIT, "name": cls, "attention_type": attention, "qkv_bias": bias}, head(top, 48), 8),
                    (8, 64, 64),
                )
        larger = {**VIT, "name": cls, "num_seg": 16, "img_size": 96, "patch_size": 8, "mlp_ratio": 2}
        yield f"{name}_16f", _transformer(larger, head(top, 48), 16), (16, 96, 96)
    for frames, px in ((8, 64), (8, 96), (16, 64)):
        backbone = {**VIT, "name": "TokenShiftVisionTransformer", "num_seg": frames, "img_size": px}
        section = _transformer(backbone, head("TokenShiftHead", 48, num_seg=frames), frames)
        yield f"tokenshift_{frames}f_{px}px", section, (frames, px, px)
    for name, (changed, clip) in SWINS.items():
        backbone = {"name": "SwinTransformer3D", **SWIN, **changed}
        yield f"videoswin_{name}", _transformer(backbone, head("I3DHead", 8 * backbone["embed_dim"]), clip[0]), clip


TRANSFORMERS = {
    "timesformer": ("VisionTransformer", "TimeSformerHead"),
    "pptimesformer": ("VisionTransformer_tweaks", "ppTimeSformerHead"),
}
SWINS: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "112px": ({}, (16, 112, 112)),
    "224px": ({}, (16, 224, 224)),
    "odd": ({}, (10, 120, 100)),
    "wide": ({"embed_dim": 32, "depths": [2, 2, 4, 2], "num_heads": [2, 4, 8, 16]}, (32, 96, 96)),
    "window": ({"window_size": [4, 4, 4]}, (8, 64, 64)),
    "patch": ({"patch_size": [4, 4, 4], "mlp_ratio": 2.0}, (16, 64, 64)),
}


def _transformer(backbone: dict[str, Any], head: dict[str, Any], frames: int) -> dict[str, Any]:
    tested = {"test": {"num_seg": frames, "avg_type": "score"}}
    return {"framework": "RecognizerTransformer", "backbone": backbone, "head": head, "runtime_cfg": tested}


def write(folder: Path, name: str, section: dict[str, Any], clip: tuple[int, ...]) -> None:
    """Runs one network under drawn parameters and inputs, and keeps what it gave."""
    import paddle

    arange = paddle.arange  # MoViNet divides by it, which paddle no longer does with integers
    if section["backbone"]["name"] == "MoViNet":
        paddle.arange = lambda *args: arange(*args).astype("float32")
    net = network(section)
    net.eval()
    state = fill(net)
    t, h, w = clip

    def spec(name: str, seed: int, *shape: int) -> dict[str, Any]:
        return {"name": name, "seed": seed, "shape": list(shape), "kind": "normal", "lo": 0, "hi": 1}

    def tensor(spec: Mapping[str, Any]) -> Any:
        return paddle.to_tensor(input2(**spec))

    with paddle.no_grad():
        if section["framework"] == "Recognizer3D":
            inputs = [spec("slow", 1, 2, 3, t // section["backbone"]["alpha"], h, w), spec("fast", 2, 2, 3, t, h, w)]
            outputs = {f"probs_crop{w}": net([tensor(one) for one in inputs], mode="infer")}
        elif section["framework"] == "RecognizerTransformer":
            inputs = [spec("imgs", 1, 2, 3, t, h, w), spec("imgs2v", 2, 1, 3, 2 * t, h, w)]
            outputs = {"logits_forward_net": net.forward_net(tensor(inputs[0]))}
            if "Swin" not in section["backbone"]["name"]:
                outputs["test_step_two_views"] = net([tensor(inputs[1])], mode="test")
        else:
            inputs = [spec("imgs", 1, 2, t, 3, h, w)]
            outputs = {"logits": net([tensor(inputs[0])], mode="infer")}
    manifest = {
        "model": name,
        "source": "ppvideo 2.3.1, paddlepaddle 3.3.1 CPU fp32",
        "model_cfg": section,
        "state_dict": state,
        "param_rule": {"gain": GAIN, "overrides": []},
        "inputs": inputs,
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n", encoding="utf-8")
    np.savez_compressed(folder / name / "expected.npz", **{f"out/{key}": out.numpy() for key, out in outputs.items()})


def main(folder: str, *names: str) -> int:
    failed = 0
    path = Path(folder).resolve()
    path.mkdir(parents=True, exist_ok=True)
    os.chdir(path)  # PaddleVideo leaves a log in the folder that it is in
    for name, section, clip in variants():
        if names and name not in names:
            continue
        if child := os.fork():  # its parameters have names that one process can give only once
            failed += os.waitpid(child, 0)[1] != 0
            continue
        try:
            write(path, name, section, clip)
        except Exception:
            traceback.print_exc()
            os._exit(1)
        print(name, flush=True)
        os._exit(0)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
