"""Runs a causal network frame by frame."""

from __future__ import annotations

import torch
from torch import Tensor

from videozoo.models.model import VideoModel


def stepped(model: VideoModel, clips: Tensor) -> Tensor:
    """The scores `[b t k]` after each frame of clips `[b t c h w]`."""
    state = model.stream_state(len(clips))
    scores = []
    for frames in clips.unbind(1):
        _, after, state = model.stream_step(frames, state)
        scores.append(after)
    return torch.stack(scores, 1)
