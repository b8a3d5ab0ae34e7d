"""`videozoo demo`: the main job from nothing, on real encoded video, with what it measured left behind."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["demo"]


def demo(
    out: Path = typer.Option(Path("runs/demo"), help="Where everything is written."),
    num_train: int = typer.Option(800, min=8, help="Training clips to make."),
    num_val: int = typer.Option(200, min=8, help="Held-out clips to make."),
    duration: str = typer.Option(None, help="Length of each training, e.g. 2ep [the recipe's]."),
    seed: int = typer.Option(0, min=0, help="Another seed makes another world."),
) -> None:
    """Make a world of moving shapes, train TSM and TSN on it, evaluate, predict: about 5 minutes on two cores."""
    import json
    import shutil
    import time

    from rich.console import Console

    from videozoo.config.recipe import load_recipe
    from videozoo.data.motion import make_clips, make_untrimmed
    from videozoo.engine.evaluate_run import evaluate_run
    from videozoo.engine.run import train
    from videozoo.errors import ConfigError
    from videozoo.loading import load
    from videozoo.predict.plot import plot_timeline
    from videozoo.predict.render import render

    console = Console()
    if out.exists() and any(out.iterdir()):
        if not (out / "summary.json").exists() and not (out / "world").exists():
            raise ConfigError(f"{out}: is not empty and was not made by the demo; choose another --out")
        shutil.rmtree(out)
    summary: dict[str, dict[str, float]] = {"seconds": {}, "top1": {}}

    def phase(title: str, name: str, started: float) -> None:
        summary["seconds"][name] = round(time.perf_counter() - started, 1)
        console.print(f"[green]done[/green] {title} ({summary['seconds'][name]:.0f} s)")

    started = begun = time.perf_counter()
    world = out / "world"
    make_clips(world, num_train=num_train, num_val=num_val, seed=seed, num_workers=2)
    make_untrimmed(out / "long", num_train=0, num_val=1, seed=seed + 1)
    phase(f"made {num_train} + {num_val} clips and a long video in {out}", "synth", started)

    overrides = [f"data.train.path={world / 'train'}", f"data.val.path={world / 'val'}", f"seed={seed}"]
    overrides += [f"fit.duration={duration}"] if duration is not None else []
    for name in ("tsm", "tsn"):
        started = time.perf_counter()
        train(load_recipe(f"motion/{name}", overrides), out / name)
        phase(f"trained {name}", f"train_{name}", started)
        started = time.perf_counter()
        summary["top1"][name] = round(evaluate_run(out / name).scores["top1"], 2)
        phase(f"evaluated {name}: top-1 {summary['top1'][name]:.1f} %", f"eval_{name}", started)

    started = time.perf_counter()
    predictor = load(out / "tsm")
    clip = sorted((world / "val").rglob("*.mp4"))[0]
    answer, probability = predictor(clip).labels.top(1)[0]
    long_video = next((out / "long").rglob("*.mp4"))
    prediction = predictor(long_video, window_s=2.0, stride_s=0.5)
    render(long_video, prediction, out / "labelled.mp4")
    plot_timeline(prediction, out / "timeline.png")
    phase(f"predicted: {clip.parent.name}/{clip.name} is '{answer}' ({probability:.0%})", "predict", started)

    summary["seconds"]["total"] = round(time.perf_counter() - begun, 1)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(
        f"\nTSM sees motion: top-1 {summary['top1']['tsm']:.1f} %. TSN looks at single frames: "
        f"{summary['top1']['tsn']:.1f} % (chance 12.5 %).\n"
        f"Made in {out}:\n"
        "  tsm/eval/val/report.html   scores, confusion matrix and how they were obtained\n"
        "  labelled.mp4               a video with its labels drawn on\n"
        "  timeline.png               the labels over time\n"
        "  summary.json               scores and seconds per phase\n"
        "Next:\n"
        f"  videozoo predict {out / 'tsm'} your_video.mp4\n"
        "  videozoo train FOLDER_WITH_ONE_FOLDER_A_CLASS --out runs/mine",
        soft_wrap=True,
        highlight=False,
    )
