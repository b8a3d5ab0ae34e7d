"""What chance scores on a data set of segments: the baseline beside the scores of a localizer.

    python benchmarks/random_proposals.py data/untrimmed/annotations.json --learn training --score validation

"anywhere" draws both ends evenly over the video; "lengths" draws lengths as the training segments have them and places
evenly. Scores and classes are drawn, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from videozoo.contracts.answer import Segments
from videozoo.contracts.video import Span
from videozoo.data.segments import AnnotatedVideo, read_annotations
from videozoo.metrics.localization import Localization

Draw = Callable[[np.random.Generator, float, int], np.ndarray]


def anywhere(rng: np.random.Generator, video_s: float, num: int) -> np.ndarray:
    return np.sort(rng.uniform(0, video_s, (num, 2)), axis=1)


def like_lengths(lengths_s: np.ndarray) -> Draw:
    def draw(rng: np.random.Generator, video_s: float, num: int) -> np.ndarray:
        length = np.minimum(rng.choice(lengths_s, num), video_s)
        start = rng.uniform(0, video_s - length)
        return np.stack([start, start + length], 1)

    return draw


def score(videos: list[AnnotatedVideo], draw: Draw, *, num_proposals: int, seed: int) -> dict[str, float]:
    names = sorted({label for video in videos for *_, label in video.segments})
    metric = Localization(names)
    rng = np.random.default_rng(seed)
    for video in videos:
        video_s = video.duration_s or max(end_s for _, end_s, _ in video.segments)
        found = draw(rng, video_s, num_proposals)
        scores = np.sort(rng.random(num_proposals))[::-1]
        labels = rng.choice(names, num_proposals)
        spans = tuple(
            Span(float(a), float(b), str(k), float(s)) for (a, b), k, s in zip(found, labels, scores, strict=True)
        )
        truth = tuple(Span(a, b, label) for a, b, label in video.segments if b > a)
        metric.update([Segments(spans)], {"id": [video.id], "spans": [truth]})
    return metric.compute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--learn", default="training", help="subset whose lengths are drawn")
    parser.add_argument("--score", default="validation", help="subset that is scored")
    parser.add_argument("--num-proposals", type=int, default=100, help="of a video")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    videos = read_annotations(args.annotations)
    lengths_s = np.array([b - a for v in videos if v.subset == args.learn for a, b, _ in v.segments if b > a])
    scored = [video for video in videos if video.subset == args.score]
    for name, draw in (("anywhere", anywhere), ("lengths", like_lengths(lengths_s))):
        found = score(scored, draw, num_proposals=args.num_proposals, seed=args.seed)
        shown = "  ".join(f"{key} {found[key]:.4g}" for key in ("auc", "ar1", "ar10", "ar100", "map", "map@0.50"))
        print(f"{name:10} {len(scored)} videos, {args.num_proposals} proposals each: {shown}")


if __name__ == "__main__":
    main()
