"""`videozoo demo`: data, training, evaluation and prediction in one command, on encoded video."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

__all__ = ["demo"]


def demo(
    out: Path = typer.Option(Path("runs/demo"), help="Output folder."),
    num_train: int = typer.Option(800, min=8, help="Number of training clips."),
    num_val: int = typer.Option(200, min=8, help="Number of held-out clips."),
    duration: str = typer.Option(None, help="Length of each training, e.g. 2ep; default the recipe's."),
    seed: int = typer.Option(0, min=0, help="Random seed of the motion world."),
) -> None:
    """Generate clips of moving shapes, train TSM and TSN, evaluate and predict: about 5 minutes on two cores."""
    import json
    import time

    import videozoo.engine.run  # noqa: F401  (without torch it fails before anything is written)
    from videozoo.data.motion import make_clips, make_untrimmed

    _empty(out)
    begun_s = time.perf_counter()
    seconds: dict[str, float] = {}
    world = out / "world"
    with _timed(seconds, "synth") as titles:
        make_clips(world, num_train=num_train, num_val=num_val, seed=seed, num_workers=2)
        make_untrimmed(out / "long", num_train=0, num_val=1, seed=seed + 1)
        titles.append(f"made {num_train} + {num_val} clips and a long video in {out}")
    overrides = [f"data.train.path={world / 'train'}", f"data.val.path={world / 'val'}", f"seed={seed}"]
    overrides += [f"fit.duration={duration}"] if duration is not None else []
    top1 = {name: _train_and_evaluate(name, out / name, overrides, seconds) for name in ("tsm", "tsn")}
    _predict(out, seconds)
    seconds["total"] = round(time.perf_counter() - begun_s, 1)
    (out / "summary.json").write_text(json.dumps({"seconds": seconds, "top1": top1}, indent=2) + "\n")
    _print_summary(out, top1)


def _empty(out: Path) -> None:
    """Removes an earlier demo from `out`; refuses other content."""
    import shutil

    from videozoo.errors import ConfigError

    if out.exists() and any(out.iterdir()):
        if not (out / "summary.json").exists() and not (out / "world").exists():
            raise ConfigError(f"{out}: is not empty and was not made by the demo; choose another --out")
        shutil.rmtree(out)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[list[str]]:
    """Stores the seconds of the block under `name`, and prints them with the title that the block appends."""
    import time

    from rich.console import Console

    titles: list[str] = []
    started_s = time.perf_counter()
    yield titles
    seconds[name] = round(time.perf_counter() - started_s, 1)
    Console().print(f"[green]done[/green] {titles[0]} ({seconds[name]:.0f} s)")


def _train_and_evaluate(name: str, run: Path, overrides: list[str], seconds: dict[str, float]) -> float:
    """Trains the recipe `motion/<name>` in `run`; returns its top-1 accuracy in percent."""
    from videozoo.config.recipe import load_recipe
    from videozoo.engine.evaluate_run import evaluate_run
    from videozoo.engine.run import train

    with _timed(seconds, f"train_{name}") as titles:
        train(load_recipe(f"motion/{name}", overrides), run)
        titles.append(f"trained {name}")
    with _timed(seconds, f"eval_{name}") as titles:
        top1 = round(evaluate_run(run).scores["top1"], 2)
        titles.append(f"evaluated {name}: top-1 {top1:.1f} %")
    return top1


def _predict(out: Path, seconds: dict[str, float]) -> None:
    """Predicts a clip and the long video with TSM; draws the long video's labels and timeline."""
    from videozoo.loading import load
    from videozoo.predict.plot import plot_timeline
    from videozoo.predict.render import render

    with _timed(seconds, "predict") as titles:
        predictor = load(out / "tsm")
        clip = sorted((out / "world" / "val").rglob("*.mp4"))[0]
        answer, probability = predictor(clip).labels.top(1)[0]
        long_video = next((out / "long").rglob("*.mp4"))
        prediction = predictor(long_video, window_s=2.0, stride_s=0.5)
        render(long_video, prediction, out / "labelled.mp4")
        plot_timeline(prediction, out / "timeline.png")
        titles.append(f"predicted: {clip.parent.name}/{clip.name} is '{answer}' ({probability:.0%})")


def _print_summary(out: Path, top1: Mapping[str, float]) -> None:
    from rich.console import Console

    Console().print(
        f"\nTSM sees motion: top-1 {top1['tsm']:.1f} %. TSN uses single frames: {top1['tsn']:.1f} % (chance 12.5 %).\n"
        f"Made in {out}:\n"
        "  tsm/eval/val/report.html   scores, confusion matrix and settings\n"
        "  labelled.mp4               a video with its labels as text\n"
        "  timeline.png               the labels over time\n"
        "  summary.json               scores and seconds per phase\n"
        "Next:\n"
        f"  videozoo predict {out / 'tsm'} your_video.mp4\n"
        "  videozoo train FOLDER_WITH_ONE_FOLDER_PER_CLASS --out runs/mine",
        soft_wrap=True,
        highlight=False,
    )
