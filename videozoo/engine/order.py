"""The order of samples in an epoch, a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Record
from videozoo.errors import ConfigError

__all__ = ["Order", "balanced_order", "class_groups", "order_of", "sample_order"]

Order = Callable[[int, int], np.ndarray]  # (seed, epoch) -> indices, int64 [num_samples]


def order_of(sampler: str, records: Dataset[Record]) -> Order:
    """Returns the order of the samples of a data set for a value of `fit.sampler`.

    Raises:
        ConfigError: the sampler is "balanced" and no sample has a label.
    """
    if sampler == "balanced":
        groups = class_groups(records)
        return lambda seed, epoch: balanced_order(seed, epoch, groups, len(records))

    def order(seed: int, epoch: int) -> np.ndarray:
        own = records.order(np.random.default_rng((seed, epoch)))
        return own if own is not None else sample_order(seed, epoch, len(records))

    return order


def sample_order(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    """Returns each index once, shuffled."""
    return np.random.default_rng((seed, epoch)).permutation(num_samples)


def balanced_order(seed: int, epoch: int, groups: Sequence[np.ndarray], num_samples: int) -> np.ndarray:
    """Draws `num_samples` indices, the same number from each group (to within one), shuffled.

    A sample is drawn again only after all samples of its group have been drawn. Large groups contribute different
    samples in every epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    shares = np.full(len(groups), num_samples // len(groups))
    shares[rng.permutation(len(groups))[: num_samples % len(groups)]] += 1
    draws = []
    for group, share in zip(groups, shares.tolist(), strict=True):
        rounds = [rng.permutation(group) for _ in range(-(-share // len(group)))]
        draws += [part[: share - i * len(group)] for i, part in enumerate(rounds)]
    return rng.permutation(np.concatenate(draws))


def class_groups(records: Dataset[Record]) -> list[np.ndarray]:
    """Returns the indices of the samples of each class in the data; a sample of several classes is in several groups.

    Samples without a label (negatives of multi-label data) form a group of their own.

    Raises:
        ConfigError: no sample has a label.
    """
    members: dict[int, list[int]] = {}
    for index in range(len(records)):
        for label in records[index].labels or (-1,):
            members.setdefault(label, []).append(index)
    if set(members) <= {-1}:
        raise ConfigError("fit.sampler: 'balanced' needs class labels and this data has none; use 'uniform'")
    return [np.array(members[label], dtype=np.int64) for label in sorted(members)]
