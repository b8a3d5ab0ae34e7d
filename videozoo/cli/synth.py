"""`videozoo synth`: a motion world, drawn and encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from videozoo.terminal import console, progress_bars, say

__all__ = ["synth"]


def synth(
    out: Path = typer.Argument(help="An empty or new folder."),
    kind: str = typer.Option("clips", help="clips (a motion each), untrimmed (long), captions, queries or yt8m."),
    num_train: int = typer.Option(None, help="Training videos [clips: 800, untrimmed: 80]."),
    num_val: int = typer.Option(None, help="Held-out videos [clips: 200, untrimmed: 20]."),
    size: int = typer.Option(None, help="Side of the picture in pixels [64]."),
    length: float = typer.Option(None, help="Seconds a video, on average [clips: 2, untrimmed: 30]."),
    fps: int = typer.Option(None, help="Frames a second [12]."),
    classes: int = typer.Option(None, help="Use the first so many of the classes [8]."),
    features: str = typer.Option(None, help="Of yt8m: made by a random network, or by one of imagenet [random]."),
    seed: int = typer.Option(0, help="Another seed makes another world."),
    workers: int = typer.Option(None, help="Processes; 0 for none beside this one [one a core]."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the world that is there."),
) -> None:
    """Make a world of moving shapes in OUT: videos that only their motion tells apart, with labels."""
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
    say(f"{out}: {kind} are ready; scripts.jsonl says what each shows")
