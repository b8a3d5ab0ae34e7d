"""The network of MiniLM in torch; `sentences.minilm` has the rest of the encoder."""

from __future__ import annotations

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

__all__ = ["Bert"]

WIDTH, LAYERS, HEADS, HIDDEN = 384, 6, 12, 1536
VOCABULARY, POSITIONS = 30522, 512


class Bert(nn.Module):
    """Maps token ids and their mask `[b n]` to the mean of the last layer's tokens at unit length, `[b 384]`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    @classmethod
    def of_weights(cls, data: bytes) -> Self:
        """Returns the network with the weights of a safetensors file with BERT's names."""
        with torch.random.fork_rng(devices=()):  # the initial values are overwritten
            network = cls()
        network.load_state_dict(_renamed(safetensors.torch.load(data)), assign=True)
        return network.eval().requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        tokens = self.layers(x, src_key_padding_mask=~mask).masked_fill(~mask.unsqueeze(-1), 0.0)
        return F.normalize(tokens.sum(1) / mask.sum(1, keepdim=True), dim=-1)

    def vectors(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Returns the vectors `[b 384]` of tokens."""
        with torch.inference_mode():
            found: Tensor = self(torch.from_numpy(ids), torch.from_numpy(mask))
        return found.numpy()


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames BERT's tensors for torch's encoder layers; the unused pooler is dropped."""
    kind = state["embeddings.token_type_embeddings.weight"][0]  # a sentence alone is of the first kind
    ours = {
        "words.weight": state["embeddings.word_embeddings.weight"],
        "positions.weight": state["embeddings.position_embeddings.weight"] + kind,
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    renames = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for i in range(LAYERS):
        theirs, mine = f"encoder.layer.{i}", f"layers.layers.{i}"
        for kind_of in ("weight", "bias"):
            parts = [state[f"{theirs}.attention.self.{name}.{kind_of}"] for name in ("query", "key", "value")]
            ours[f"{mine}.self_attn.in_proj_{kind_of}"] = torch.cat(parts)
            ours |= {f"{mine}.{new}.{kind_of}": state[f"{theirs}.{old}.{kind_of}"] for old, new in renames.items()}
    return ours
