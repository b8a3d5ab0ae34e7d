"""Draws the clips of a batch, with augmentation, as rows of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from videozoo.drawing.text import draw_text

__all__ = ["draw_clips"]

INK, PAPER = (28, 32, 40), (255, 255, 255)
TEXT_PX, GAP_PX = 16, 3


def draw_clips(batch: Mapping[str, Any], *, max_clips: int = 8, max_frames: int = 8) -> Image.Image | None:
    """Draws the first clips of a batch, one per row below its id; returns None if the batch has no color clips.

    `video` is `[b t 3 h w]` in 0..255. Long clips are subsampled to every n-th frame.
    """
    video = batch.get("video")
    if not isinstance(video, Tensor) or video.ndim != 5 or video.shape[2] != 3:
        return None
    stride = -(-video.shape[1] // max_frames)
    clips = video[:max_clips, ::stride].detach().float().clamp(0, 255).byte().cpu()
    b, t, _, h, w = clips.shape
    page = Image.new("RGB", (t * (w + GAP_PX), b * (h + TEXT_PX + GAP_PX)), PAPER)
    pen = ImageDraw.Draw(page)
    ids = batch.get("id") or [""] * b
    for row in range(b):
        top = row * (h + TEXT_PX + GAP_PX)
        draw_text(pen, (2, top), str(ids[row]), INK, 12)
        for column in range(t):
            frame = np.ascontiguousarray(clips[row, column].permute(1, 2, 0).numpy())
            page.paste(Image.fromarray(frame), (column * (w + GAP_PX), top + TEXT_PX))
    return page
