"""The contrastive loss of dual encoders."""

from __future__ import annotations

from torch import Tensor

from videozoo.shapes import Float, Int

__all__ = ["contrastive_loss"]


def contrastive_loss(scores: Float[Tensor, "b b"], groups: Int[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """Returns the symmetric cross-entropy of videos (rows) and sentences (columns); the diagonal belongs together.

    Paper: CLIP, arXiv:2103.00020, figure 3. Differs: sentences of the same group are equally right.

    Args:
        groups: one number for each sentence, equal for equal sentences.
    """
    same = (groups[:, None] == groups).to(scores.dtype)
    target = same / same.sum(1, keepdim=True)
    of_videos, of_sentences = scores.log_softmax(1), scores.T.log_softmax(1)
    return -(target * (of_videos + of_sentences)).sum(1).mean() / 2
