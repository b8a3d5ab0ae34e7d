"""Localization with BSN, whose two networks are trained in sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from videozoo.contracts.intervals import interval_iou
from videozoo.decoding.localize_bsn import LocalizeBsnDecoder
from videozoo.decoding.proposals import Proposals, action_target, boundary_targets, pair_boundaries
from videozoo.layers.proposal_loss import bsn_proposal_loss, bsn_temporal_losses
from videozoo.metrics.localization import Protocol
from videozoo.models.bsn import BSN, BSNOutput
from videozoo.models.model import VideoModel
from videozoo.tasks.propose import Propose
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch

__all__ = ["LocalizeBsn"]


@register_task
class LocalizeBsn(Propose[BSNOutput]):
    """Proposals whose score is start x end x predicted overlap (arXiv:1806.02964, section 3).

    Differs: proposals and their features are computed from the temporal network's outputs on demand, not stored, so
    that one checkpoint is enough for inference. Training takes only the proposals of the network, no random ones.

    Args:
        stage: the network to train. "tem" trains only the temporal network, and boundaries alone score the proposals;
            "pem" trains the proposal scores, with the temporal network fixed.
        num_proposals: number of best proposals of a sequence used in training.
        alpha, low, high, max_proposals, num_names, video_scores, protocol, tolerances_s: see `tasks.propose.Propose`.
    """

    network = BSN
    decoder_class = LocalizeBsnDecoder
    decoder: LocalizeBsnDecoder
    training_args = ("num_proposals",)
    learned_args = ("stage",)

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        stage: Literal["tem", "pem"],
        num_proposals: int = 500,
        alpha: float = 0.75,
        low: float = 0.65,
        high: float = 0.9,
        max_proposals: int = 100,
        num_names: int = 2,
        video_scores: str | None = None,
        protocol: Protocol = "activitynet",
        tolerances_s: tuple[float, ...] = (),
    ):
        super().__init__(
            model,
            class_names,
            alpha=alpha,
            low=low,
            high=high,
            max_proposals=max_proposals,
            num_names=num_names,
            video_scores=video_scores,
            protocol=protocol,
            tolerances_s=tolerances_s,
        )
        self.stage, self.num_proposals = stage, num_proposals
        self.decoder = dataclasses.replace(self.decoder, rated=stage == "pem")
        (self.networks.pem if stage == "tem" else self.networks.tem).requires_grad_(False)

    @property
    def networks(self) -> BSN:
        model = self.model
        assert isinstance(model, BSN)
        return model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._temporal_losses(batch) if self.stage == "tem" else self._rating_losses(batch)

    def _temporal_losses(self, batch: Batch) -> dict[str, Tensor]:
        probs = self.networks.tem(batch["features"]).float()
        t = probs.shape[-1]
        targets = [
            np.stack([*boundary_targets(segments, num_snippets=t), action_target(segments, num_snippets=t)])
            for segments, _ in self.truth(batch)
        ]
        return bsn_temporal_losses(probs, torch.from_numpy(np.stack(targets)).to(probs.device))

    def _rating_losses(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            probs = self.networks.tem(batch["features"]).float()
        found_in = [self._proposals(row[0], row[1]).best(self.num_proposals) for row in probs.cpu().numpy()]
        n = max(len(found) for found in found_in)
        segments, overlap = np.zeros((len(found_in), n, 2), np.float32), np.zeros((len(found_in), n), np.float32)
        valid = np.zeros((len(found_in), n), bool)
        for i, (found, (truth, _)) in enumerate(zip(found_in, self.truth(batch), strict=True)):
            segments[i, : len(found)], valid[i, : len(found)] = found.segments, True
            overlap[i, : len(found)] = interval_iou(found.segments[:, None], truth).max(1, initial=0.0)
        described, target, counted = (torch.from_numpy(x).to(probs.device) for x in (segments, overlap, valid))
        rated = self.networks.rate(probs[:, 2], described).float()
        return {"loss": bsn_proposal_loss(rated, target, valid=counted)}

    def _proposals(self, start: np.ndarray, end: np.ndarray) -> Proposals:
        return pair_boundaries(start, end, max_duration=self.networks.max_duration)
