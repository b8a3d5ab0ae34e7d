"""How well a captioner of made stories tells them, beside the sentence that is right most often.

    python benchmarks/captions.py runs/motion_ets --data data/stories

For whole videos: the usual scores; "order", the share whose motions are those of both events, in their order; "colours"
and "shapes", the share of events whose word is right. For single events the usual scores.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from videozoo.data.activitynet_captions import activitynet_captions
from videozoo.data.captions import CaptionRecord
from videozoo.data.motion import CLASSES
from videozoo.data.motion.shapes import COLOURS, SHAPES
from videozoo.metrics.captions import caption_scores
from videozoo.tasks.build import task_from_checkpoint
from videozoo.transforms.tensors import collate
from videozoo.weights import checkpoint

MOTION = re.compile("|".join(sorted(CLASSES, key=len, reverse=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run directory or a weight file")
    parser.add_argument("--data", type=Path, default=Path("data/stories"), help="the made world")
    parser.add_argument("--features", type=Path, help="of its videos [DATA/features]")
    parser.add_argument("--no-meteor", action="store_true", help="METEOR needs Java")
    options = parser.parse_args()
    features = options.features or options.data / "features"
    saved = checkpoint.read(options.run)
    held_out = activitynet_captions(options.data / "val.json", features=features, class_names=saved.class_names)
    whole = [record for record in held_out if ", then " in record.captions[0]]
    events = [record for record in held_out if ", then " not in record.captions[0]]
    train = json.loads((options.data / "train.json").read_text(encoding="utf-8"))
    for name, records, place in (("whole videos", whole, slice(0, 1)), ("events", events, slice(1, None))):
        usual, times = Counter(s for told in train.values() for s in told["sentences"][place]).most_common(1)[0]
        said = describe(saved, records)
        for method, answers in (
            (saved.record["model"]["name"], said),
            (f"'{usual}' ({times} times)", [usual] * len(said)),
        ):
            scores = judge(records, answers, meteor=not options.no_meteor)
            print(json.dumps({"what": name, "captions": method, "samples": len(records), **scores}))


@torch.inference_mode()
def describe(saved: checkpoint.Checkpoint, records: Sequence[CaptionRecord], *, batch_size: int = 32) -> list[str]:
    """A sentence for each record."""
    task, spec = task_from_checkpoint(saved)
    pipeline, found = spec.eval_pipeline(), []
    for first in range(0, len(records), batch_size):
        samples = [pipeline(record) for record in records[first : first + batch_size]]
        found += [caption.text for caption in task.predict(spec.to_device(collate(samples), "cpu"))]
    return found


def judge(records: Sequence[CaptionRecord], said: Sequence[str], *, meteor: bool) -> dict[str, float]:
    """The scores in percent."""
    truth = [record.captions[0] for record in records]
    pairs = [(answer, (true,)) for answer, true in zip(said, truth, strict=True)]
    order = [MOTION.findall(answer) == MOTION.findall(true) for answer, (true,) in pairs]
    scores = {**caption_scores(pairs, meteor=meteor), "order": 100 * sum(order) / len(order)}
    for name, words in (("colours", COLOURS), ("shapes", SHAPES)):
        rows = [([w for w in text.split() if w in words] for text in (answer, true)) for answer, (true,) in pairs]
        right = [a == b for answer, true in rows for a, b in zip(answer + ["?"] * len(true), true, strict=False)]
        scores[name] = 100 * sum(right) / len(right)
    return {name: round(score, 2) for name, score in scores.items()}


if __name__ == "__main__":
    main()
