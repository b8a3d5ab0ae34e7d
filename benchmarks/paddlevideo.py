"""Clip classifiers beside PaddleVideo's own code: the same weights and the same clip, both timed in one run.

    python benchmarks/paddlevideo.py [MODEL ...] [--repeats 5] [--threads 2] [--steps] [--bf16] [--out FILE]
    git clone --depth 1 --branch release/1.8 https://github.com/PaddlePaddle/models
    python benchmarks/paddlevideo.py [MODEL ...] --static models/PaddleCV/video [...]

PaddleVideo comes from PyPI (ppvideo 2.3.1) and runs under paddlepaddle 3.3.1, in an environment of its own that the
first run makes in build/paddlevideo (about 1 GB). It builds each network with random weights; we import them as any
user would, and both must give the same scores before anything is timed. Then they take turns, so that a busy machine
slows both: look at the ratio of medians. Ours runs as `videozoo predict` and `videozoo train` run it, without being
asked. FLAGS_use_mkldnn=1 in the environment turns PaddlePaddle's oneDNN kernels on. `--steps` times training steps
(forward, backward, SGD) as well; `--bf16` ours in bfloat16 beside its float32. StNet and Non-local are in no package:
their static graphs of 2019 come from a clone of PaddlePaddle's models and run under paddlepaddle 1.8.5, in an
environment of Python 3.7, which uv must find (`uv python install 3.7`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "paddlevideo"
STATIC_HOME = ROOT / "build" / "paddlevideo_2019"
STATIC_NEEDS = ("paddlepaddle==1.8.5", "protobuf<3.21", "pyyaml")
NEEDS = ("paddlepaddle==3.3.1", "opencv-python-headless", "pandas", "pyyaml", "scipy", "setuptools", "six", "tqdm")
NUM_CLASSES = 400
SETTLE_S = 0.3  # the threads of the side that has just run go on spinning for a while
TOLERANCE = 1e-4  # largest difference of scores, of the largest score


@dataclasses.dataclass(frozen=True)
class Case:
    """One network of PaddleVideo's recipes.

    framework, backbone, head: as its recipes name them.
    clip: frames, height and width.
    layout: of the clips it takes; "paths" are SlowFast's two.
    args: of our model, where it is another than the default one.
    """

    framework: str
    backbone: dict[str, Any]
    head: dict[str, Any]
    clip: tuple[int, int, int]
    layout: str = "btchw"
    args: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StaticCase:
    """One network of 2019, which `paddlevideo_2019.py` builds: our model of it, and the clip's frames and size."""

    model: str
    clip: tuple[int, int, int]
    args: dict[str, Any] = dataclasses.field(default_factory=dict)


VIT: dict[str, Any] = {
    "img_size": 224,
    "patch_size": 16,
    "in_channels": 3,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4,
    "qkv_bias": True,
    "epsilon": 1e-6,
    "num_seg": 8,
    "attention_type": "divided_space_time",
}
SWIN: dict[str, Any] = {
    "patch_size": (2, 4, 4),
    "embed_dim": 96,
    "depths": [2, 2, 18, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": (8, 7, 7),
    "mlp_ratio": 4.0,
    "drop_path_rate": 0.1,
    "patch_norm": True,
}
SLOWFAST: dict[str, Any] = {"width_per_group": 64, "alpha": 8, "beta": 8}
MOVINET: dict[str, Any] = {"causal": False, "conv_type": "3d"}

CASES: dict[str, Case] = {
    "tsn": Case(
        "Recognizer2D",
        {"name": "ResNet", "depth": 50},
        {"name": "TSNHead", "in_channels": 2048},
        (3, 224, 224),
    ),
    "tsm": Case(
        "Recognizer2D",
        {"name": "ResNetTSM", "depth": 50, "num_seg": 8},
        {"name": "TSMHead", "in_channels": 2048},
        (8, 224, 224),
    ),
    "pptsn": Case(
        "Recognizer2D",
        {"name": "ResNetTweaksTSN", "layers": 50},
        {"name": "ppTSNHead", "in_channels": 2048},
        (3, 224, 224),
    ),
    "pptsm": Case(
        "Recognizer2D",
        {"name": "ResNetTweaksTSM", "depth": 50},
        {"name": "ppTSMHead", "in_channels": 2048},
        (8, 224, 224),
    ),
    "pptsm_mobile": Case(
        "Recognizer2D",
        {"name": "PPTSM_MobileNetV3", "num_seg": 8, "class_num": NUM_CLASSES},
        {"name": "MoViNetHead"},
        (8, 224, 224),
    ),
    "pptsm_v2": Case(
        "Recognizer2D",
        {"name": "PPTSM_v2", "num_seg": 8, "class_num": NUM_CLASSES},
        {"name": "MoViNetHead"},
        (8, 224, 224),
    ),
    "movinet": Case(
        "MoViNetRecognizerFrame",
        {"name": "MoViNet", "model_type": "A0", "num_classes": NUM_CLASSES, **MOVINET},
        {"name": "MoViNetHead"},
        (50, 172, 172),
        args={"is_causal": False, "conv_type": "3d"},
    ),
    "slowfast": Case(
        "Recognizer3D",
        {"name": "ResNetSlowFast", "depth": 50, "fusion_kernel_sz": 5, **SLOWFAST},
        {"name": "SlowFastHead", "num_frames": 32, "crop_size": 224, "dropout_rate": 0.5, **SLOWFAST},
        (32, 224, 224),
        layout="paths",
    ),
    "timesformer": Case(
        "RecognizerTransformer",
        {"name": "VisionTransformer", **VIT},
        {"name": "TimeSformerHead", "in_channels": 768},
        (8, 224, 224),
        layout="bcthw",
    ),
    "pptimesformer": Case(
        "RecognizerTransformer",
        {"name": "VisionTransformer_tweaks", **VIT, "qkv_bias": False},
        {"name": "ppTimeSformerHead", "in_channels": 768},
        (8, 224, 224),
        layout="bcthw",
    ),
    "tokenshift": Case(
        "RecognizerTransformer",
        {"name": "TokenShiftVisionTransformer", **VIT, "img_size": 256, "attention_type": "space_only"},
        {"name": "TokenShiftHead", "in_channels": 768},
        (8, 256, 256),
        layout="bcthw",
        args={"crop_px": 256},
    ),
    "videoswin": Case(
        "RecognizerTransformer",
        {"name": "SwinTransformer3D", **SWIN},
        {"name": "I3DHead", "in_channels": 768},
        (32, 224, 224),
        layout="bcthw",
    ),
}

STATIC_CASES: dict[str, StaticCase] = {
    "stnet": StaticCase("stnet", (35, 224, 224)),
    "stnet_101": StaticCase("stnet", (35, 224, 224), {"backbone": "resnet101"}),
    "nonlocal": StaticCase("nonlocal", (8, 224, 224)),
    "nonlocal_101": StaticCase("nonlocal", (8, 224, 224), {"depth": 101}),
    "nonlocal_c2d": StaticCase("nonlocal", (8, 224, 224), {"arch": "c2d"}),
    "nonlocal_c2d_101": StaticCase("nonlocal", (8, 224, 224), {"arch": "c2d", "depth": 101}),
}


# --- PaddleVideo's side: a process of its own, which answers a line of JSON on each command -----------------------


def serve(name: str, folder: Path) -> None:
    """Builds `name` in PaddleVideo, keeps its weights and scores in `folder`, then times what it is told to."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # it logs on stdout
    import numpy as np
    import paddle

    sys.path.insert(0, str(ROOT))
    from tests.parity.original import fill, network

    case = CASES[name]
    head = {"num_classes": NUM_CLASSES, **case.head} if case.head["name"] != "MoViNetHead" else case.head
    config: dict[str, Any] = {"framework": case.framework, "backbone": case.backbone, "head": head}
    if case.framework == "RecognizerTransformer":
        config["runtime_cfg"] = {"test": {"num_seg": case.clip[0], "avg_type": "score"}}
    net = network(config)
    fill(net)  # fresh parameters are all 0 or 1 in places, which would hide a fault
    paddle.save(net.state_dict(), str(folder / "weights.pdparams"))

    clip = np.load(folder / "clip.npy")
    if case.layout == "btchw":
        arrays = [clip]
    else:
        arrays = [clip.swapaxes(1, 2)]
        if case.layout == "paths":
            slow = np.linspace(0, clip.shape[1] - 1, clip.shape[1] // case.backbone["alpha"]).astype(int)
            arrays.insert(0, arrays[0][:, :, slow])
    arrays = [np.ascontiguousarray(array) for array in arrays]
    labels = np.zeros((1, 1), "int64")
    optimizer = paddle.optimizer.Momentum(1e-6, 0.9, parameters=net.parameters())

    @paddle.no_grad()
    def forward(batch: list[Any]) -> Any:
        return net(batch, mode="infer").numpy()

    def step(batch: list[Any]) -> None:
        net(batch, mode="train")["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()

    net.eval()
    np.save(folder / "scores.npy", forward([paddle.to_tensor(array) for array in arrays]))
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        train = json.loads(line) == "step"
        net.train() if train else net.eval()
        batch = [paddle.to_tensor(array) for array in ([*arrays, labels] if train else arrays)]
        start = time.perf_counter()
        (step if train else forward)(batch)
        print(json.dumps(time.perf_counter() - start), file=answers)


@contextlib.contextmanager
def paddlevideo(name: str, folder: Path, *, static: Path | None, threads: int) -> Iterator[Callable[[str], float]]:
    """PaddleVideo's process, as a function from "forward" or "step" to the seconds that it took."""
    if static:
        script = str(Path(__file__).with_name("paddlevideo_2019.py"))
        command = [str(STATIC_HOME / "bin" / "python"), "-W", "ignore", script, name, str(static), str(folder)]
    else:
        command = [str(HOME / "bin" / "python"), "-W", "ignore", __file__, name, "--serve", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
    ):
        assert child.stdin is not None and child.stdout is not None

        def answer() -> Any:
            line = child.stdout.readline()
            if not line:
                raise SystemExit(f"PaddleVideo's {name} failed:\n{(folder / 'log').read_text()[-2000:]}")
            return json.loads(line)

        def timed(what: str) -> float:
            child.stdin.write(json.dumps(what) + "\n")
            child.stdin.flush()
            return answer()

        answer()
        try:
            yield timed
        finally:
            child.stdin.close()
            child.wait()


def install(home: Path, needs: tuple[str, ...], *, python: str) -> bool:
    """Makes an environment of PaddleVideo's side where there is none; whether it did."""
    if (home / "ready").is_file():
        return False
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "-q", "--clear", "--python", python, str(home)], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", str(home / "bin" / "python"), *needs], check=True)
    return True


def install_paddlevideo() -> None:
    if install(HOME, NEEDS, python=sys.executable):
        pip = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--python", str(HOME / "bin/python")]
        subprocess.run([*pip, "--no-deps", "ppvideo==2.3.1"], check=True)  # it pins versions that are gone
        package = next(HOME.glob("lib/*/site-packages/ppvideo"))
        (package / "__init__.py").write_text("")  # it imports decoders that no longer install
        (HOME / "ready").touch()


def install_static() -> None:
    try:
        if install(STATIC_HOME, STATIC_NEEDS, python="3.7"):
            (STATIC_HOME / "ready").touch()
    except subprocess.CalledProcessError:
        raise SystemExit("paddlepaddle 1.8.5 needs Python 3.7; uv says above what is missing") from None


# --- our side -----------------------------------------------------------------------------------------------------


def measure(name: str, *, static: Path | None, repeats: int, threads: int, steps: bool, bf16: bool) -> dict[str, Any]:
    """Scores' relative difference, and median seconds of both sides, of the network `name`."""
    import numpy as np
    import torch

    from videozoo.models.memory_format import channels_last
    from videozoo.weights import convert
    from videozoo.weights.conventions import fitting_model

    torch.set_num_threads(threads)
    case = STATIC_CASES[name] if static else CASES[name]
    array = np.random.default_rng(1).standard_normal((1, case.clip[0], 3, *case.clip[1:]), dtype=np.float32)
    clip, label = torch.from_numpy(array), torch.zeros(1, dtype=torch.long)
    model_name, source = (case.model, "paddlevideo1") if isinstance(case, StaticCase) else (name, "paddlevideo")
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        np.save(folder / "clip.npy", array)
        with paddlevideo(name, folder, static=static, threads=threads) as theirs:
            args = {"num_classes": NUM_CLASSES, **case.args}
            model, _ = fitting_model(model_name, args, source=source)
            convert(model, folder / "weights.pdparams", source=source)
            expected = torch.from_numpy(np.load(folder / "scores.npy")).flatten()
            model.eval()
            channels_last(model)

            @torch.inference_mode()
            def forward() -> torch.Tensor:
                return model(clip).flatten()

            gives_probabilities = isinstance(case, StaticCase) or name == "slowfast"
            found = forward().softmax(0) if gives_probabilities else forward()
            error = float((found - expected).abs().max() / expected.abs().max())
            if not error < TOLERANCE:
                raise SystemExit(f"{name}: scores differ by {error:.1e}: this would compare two networks")

            def forward_bf16() -> None:
                with torch.autocast("cpu", torch.bfloat16):
                    forward()

            row: dict[str, Any] = {"model": name, "clip": case.clip, "scores_differ_by": error}
            ours = {"forward": forward} | ({"forward_bf16": forward_bf16} if bf16 else {})
            row["forward"] = _take_turns(ours, lambda: theirs("forward"), repeats)
            if steps:
                trained, _ = fitting_model(model_name, args, source=source)
                trained.train()
                channels_last(trained, is_trained_on=torch.device("cpu"))
                optimizer = torch.optim.SGD(trained.parameters(), lr=1e-6, momentum=0.9)

                def step() -> None:
                    torch.nn.functional.cross_entropy(trained(clip), label).backward()
                    optimizer.step()
                    optimizer.zero_grad()

                row["step"] = _take_turns({"step": step}, lambda: theirs("step"), repeats)
    return row


def _take_turns(ours: dict[str, Callable[[], Any]], theirs: Callable[[], float], repeats: int) -> dict[str, float]:
    """Median seconds by name, PaddleVideo's under "paddlevideo"; the first turn is to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in (*ours, "paddlevideo")}
    for _ in range(repeats + 1):
        for name, call in ours.items():
            time.sleep(SETTLE_S)
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
        time.sleep(SETTLE_S)
        seconds["paddlevideo"].append(theirs())
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ", ".join(CASES) + "; with --static " + ", ".join(STATIC_CASES)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{known}; all by default")
    parser.add_argument("--static", type=Path, metavar="FOLDER", help="PaddleCV/video of a clone of release/1.8")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", action="store_true", help="time training steps, too")
    parser.add_argument("--bf16", action="store_true", help="time our forward pass in bfloat16, too")
    parser.add_argument("--out", type=Path, help="write all figures to this file, as JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = STATIC_CASES if args.static else CASES
    if unknown := sorted(set(args.models) - set(cases)):
        parser.error(f"there is no {unknown[0]} here; models are {known}")
    if args.serve:
        serve(args.models[0], args.serve)
        return
    if args.static:
        if not (args.static / "models" / "stnet").is_dir():
            parser.error(f"{args.static} has no models/stnet; give the folder PaddleCV/video of the clone")
        args.static = args.static.resolve()
        install_static()
    else:
        install_paddlevideo()
    rows = []
    print("model            clip          scores differ   ours, s   PaddleVideo, s   ratio", flush=True)
    for name in args.models or cases:
        row = measure(
            name,
            static=args.static,
            repeats=args.repeats,
            threads=args.threads,
            steps=args.steps,
            bf16=args.bf16,
        )
        rows.append(row)
        frames, height, _ = row["clip"]
        for part in ("forward", "step"):
            for ours, seconds in row.get(part, {}).items():
                if ours != "paddlevideo":
                    theirs = row[part]["paddlevideo"]
                    what = name if ours == "forward" else f"  {ours}"
                    differ = f"{row['scores_differ_by']:.1e}" if ours == "forward" else ""
                    size = f"{frames} x {height} px" if ours == "forward" else ""
                    print(
                        f"{what:<16} {size:<13} {differ:>13} {seconds:>9.3f} {theirs:>16.3f} {theirs / seconds:>7.2f}",
                        flush=True,
                    )
        if args.out:
            args.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
