"""From raw videos to segments, measured against the scripts that the videos were made from.

    python benchmarks/localize_end_to_end.py RUN [--videos 8] [--seed 1000] [--predict "--min-score 0.3"]
    python benchmarks/localize_end_to_end.py CLASSIFIER --predict "--segments LOCALIZER"

Fresh untrimmed videos of the motion world (a seed that no recipe uses) go through `videozoo predict RUN VIDEOS --json`,
as a user would call it. Segments are matched to the script's greedily, the best score first, each to the free one it
overlaps most; a true segment without a match counts as an overlap of 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videozoo.contracts.video import Span
from videozoo.data.motion import make_untrimmed
from videozoo.data.motion.labels import segments
from videozoo.data.motion.script import Script


@dataclasses.dataclass(frozen=True)
class Match:
    """One video's true segments, how many were found, and how well."""

    overlaps: list[float]  # of each true segment with what was matched to it
    right_names: int
    num_found: int


def match(found: Sequence[Span], truth: Sequence[Span]) -> Match:
    free = dict(enumerate(truth))
    overlaps = [0.0] * len(truth)
    right_names = 0
    for span in sorted(found, key=lambda span: -span.score):
        best = max(free, key=lambda i: overlap(span, free[i]), default=None)
        if best is not None and overlap(span, free[best]) > 0:
            overlaps[best] = overlap(span, free[best])
            right_names += span.label.replace("_", " ") == free.pop(best).label
    return Match(overlaps, right_names, len(found))


def overlap(a: Span, b: Span) -> float:
    shared_s = max(min(a.end_s, b.end_s) - max(a.start_s, b.start_s), 0.0)
    return shared_s / (a.end_s - a.start_s + b.end_s - b.start_s - shared_s)


def truth_of(world: Path) -> dict[str, list[Span]]:
    """The segments of each video of a world, by file name."""
    rows = map(json.loads, (world / "scripts.jsonl").read_text().splitlines())
    return {Path(row["path"]).name: segments(Script.from_json(json.dumps(row["script"]))) for row in rows}


def found_in(prediction: Mapping[str, Any]) -> list[Span]:
    """The segments of a localizer's answer, or those that another run found and this one named (`--segments`)."""
    if "segments" in prediction:
        return [Span(**segment) for segment in prediction["segments"]]
    return [
        Span(window["start_s"], window["end_s"], window["labels"][0]["name"], window["found"]["score"])
        for window in prediction["windows"]
    ]


def measure(run: Path, world: Path, options: Sequence[str] = ()) -> dict[str, float]:
    """mean_tiou over all true segments, the share of right names, and how many were found for each that there is."""
    command = [sys.executable, "-m", "videozoo", "predict", str(run), str(world / "videos"), "--json", *options]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds = time.perf_counter() - begun
    truth = truth_of(world)
    matches = []
    for prediction in json.loads(done.stdout)["predictions"]:
        found = found_in(prediction)
        matches.append(match(found, truth[Path(prediction["id"]).name]))
    overlaps = [value for m in matches for value in m.overlaps]
    return {
        "videos": len(matches),
        "true segments": len(overlaps),
        "found": sum(m.num_found for m in matches),
        "mean_tiou": sum(overlaps) / len(overlaps),
        "right_names": sum(m.right_names for m in matches) / len(overlaps),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/motion_bmn"))
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--predict", default="", help="more words for `videozoo predict`")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_untrimmed(folder, num_train=0, num_val=args.videos, seed=args.seed)
        for name, value in measure(args.run, Path(folder), args.predict.split()).items():
            print(f"{name:>14}: {value:.3f}" if isinstance(value, float) else f"{name:>14}: {value}")


if __name__ == "__main__":
    main()
