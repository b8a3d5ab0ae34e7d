"""`videozoo synth`: generates and encodes a motion world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from videozoo.terminal import console, progress_bars, say

__all__ = ["synth"]


def synth(
    out: Path = typer.Argument(help="An empty or new folder."),
    kind: str = typer.Option(
        "clips", help="clips (one motion each), untrimmed (long), captions, queries, shots or yt8m."
    ),
    num_train: int = typer.Option(None, help="Number of training videos; default 800 clips or 80 untrimmed videos."),
    num_val: int = typer.Option(None, help="Number of held-out videos; default 200 clips or 20 untrimmed videos."),
    size: int = typer.Option(None, help="Side of the frames in pixels; default 64."),
    length: float = typer.Option(
        None, help="Average length of a video in seconds; default 2 for clips, 30 for untrimmed videos."
    ),
    fps: int = typer.Option(None, help="Frames per second; default 12."),
    classes: int = typer.Option(None, help="Number of classes; default 8."),
    features: str = typer.Option(None, help="Network of yt8m's features: random or imagenet; default random."),
    seed: int = typer.Option(0, help="Random seed of the world."),
    workers: int = typer.Option(None, help="Parallel processes; 0 runs in this process; default one per core."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing world."),
) -> None:
    """Generate a world of moving shapes in OUT: labeled videos that differ only in motion."""
    from videozoo.config.check import accepted
    from videozoo.data.motion import KINDS
    from videozoo.errors import ConfigError, did_you_mean
    from videozoo.io.process import num_cores

    if kind not in KINDS:
        raise ConfigError(f"synth --kind: there is no '{kind}'{did_you_mean(kind, KINDS)}")
    asked: dict[str, Any] = {
        "num_train": num_train,
        "num_val": num_val,
        "size_px": size,
        "length_s": length,
        "fps": fps,
        "num_classes": classes,
        "features": features,
    }
    if features is not None and "features" not in accepted(KINDS[kind]):
        raise ConfigError(f"synth --features: got '{features}' for {kind}; only yt8m has features")
    with progress_bars(console(stderr=True)) as bar:
        task = bar.add_task(f"drawing {kind}", total=None)
        KINDS[kind](
            out,
            **{name: value for name, value in asked.items() if value is not None},
            seed=seed,
            num_workers=num_cores() if workers is None else workers,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    say(f"{out}: {kind} are ready; scripts.jsonl describes each of them")
