"""Mixup, Cutmix and VideoMix of PaddleVideo 2.x, with their seeded draws.

In every stored Cutmix the rectangle comes out empty (its first side is that of time, two frames): that the
pixels are right is tested in tests/layers/test_mix.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity.arrays import load_file
from tests.parity.rule import input2, rel_err
from videozoo.layers.mix import cutmix, draw_box, mixup


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "mix.npz").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    images = np.stack([input2(seed=91 + i, shape=(3, 2, 8, 8)) for i in range(4)])
    video = torch.from_numpy(images).transpose(1, 2)  # [b c t h w] there
    stored = load_file(folder / "mix.npz")
    for name, case in manifest["cases"].items():
        kind, _, seed = name.partition("/seed")
        draws = np.random.RandomState(int(seed))
        cuts = kind.startswith("cutmix") or (kind == "videomix" and draws.random_sample() < 0.5)
        perm = torch.from_numpy(draws.permutation(4))
        alpha = 1.0 if cuts else 0.2
        lam = draws.beta(alpha, alpha)
        if cuts:
            legacy: Any = _Legacy(draws)
            box = draw_box(legacy, video.shape[1], video.shape[3], lam=lam)
            mixed, lam = cutmix(video, perm, box, box_in_time=True)
        else:
            mixed = mixup(video, lam, perm)
        yield f"{name}/imgs", rel_err(mixed.transpose(1, 2), stored[f"{name}/imgs"])
        yield f"{name}/lam", rel_err([lam] * 4, case["lam"])
        yield f"{name}/labels_b", float(perm.tolist() != case["labels_b"])


class _Legacy:
    """`np.random.randint` behind the interface of today's generators."""

    def __init__(self, draws: np.random.RandomState):
        self._draws = draws

    def integers(self, high: int) -> int:
        return int(self._draws.randint(high))
