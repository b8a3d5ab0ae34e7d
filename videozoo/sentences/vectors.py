"""Sentences with precomputed vectors, such as the 4800 skip-thought numbers of TALL's TACoS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import DataError, WeightsError
from videozoo.io.npz import load_arrays
from videozoo.io.unpickle import unpickle_arrays
from videozoo.sentences.encoder import SentenceEncoder
from videozoo.sentences.registry import register_encoder
from videozoo.structured import reading, regular_file

__all__ = ["Vectors", "read_vectors"]


STORED_FILE = "sentences.npz"  # in an export


@register_encoder
class Vectors(SentenceEncoder):
    """Sentence vectors from a file; only sentences in the file can be queried.

    Args:
        path: an npz with the arrays `sentences` `[n]` and `vectors` `[n d]`, or TALL's pickle, a list of (clip,
            vectors), whose sentences are called `<clip>#<number from 0>`. Several paths, separated by commas, are
            joined.
        folder: the folder of an export, which has its own file.

    Raises:
        DataError: no such file, a file of a different form, or a sentence with two vectors.
    """

    def __init__(self, *, path: str, folder: Path | None = None):
        super().__init__()
        digest = hashlib.sha256()
        self._vectors: dict[str, np.ndarray] = {}
        parts = [Path(part.strip()) for part in path.split(",")] if folder is None else [folder / STORED_FILE]
        for part in parts:
            with reading(regular_file(part, kind="file of sentence vectors"), advice="check its permissions"):
                digest.update(part.read_bytes())
            for sentence, vector in read_vectors(part):
                known = self._vectors.setdefault(sentence, vector)
                if known is not vector and not np.array_equal(known, vector):
                    raise DataError(f"{part}: '{sentence}' has two different vectors; keep one")
        self.path, self.sha256 = path, digest.hexdigest()
        widths = sorted({vector.size for vector in self._vectors.values()})
        if len(widths) != 1:
            raise DataError(f"{path}: has vectors of the widths {widths}; all must have the same width")
        self.dim = widths[0]

    def encode(self, sentences: list[str]) -> np.ndarray:
        missing = [sentence for sentence in sentences if sentence not in self._vectors]
        if missing:
            raise DataError(
                f"query: '{missing[0]}' has no vector in {self.path}, which holds {len(self._vectors)}; "
                "sentences of your own need an encoder such as minilm"
            )
        return np.stack([self._vectors[sentence] for sentence in sentences])

    def store(self, folder: Path) -> dict[str, Any]:
        sentences = np.array(list(self._vectors))
        np.savez(folder / STORED_FILE, sentences=sentences, vectors=np.stack(list(self._vectors.values())))
        return {"name": "vectors", "path": STORED_FILE}


def read_vectors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Reads (sentence, float32 vector) pairs from a file of either form, in its order.

    Raises:
        DataError: the file has neither form.
    """
    regular_file(path, kind="file of sentence vectors")
    if path.suffix == ".npz":
        with reading(path, advice="needs the arrays sentences and vectors"), load_arrays(path) as file:
            names, table = file["sentences"].astype(str).tolist(), np.asarray(file["vectors"], np.float32)
        if table.ndim != 2 or len(table) != len(names):
            raise DataError(
                f"{path}: {len(names)} sentences with vectors {table.shape}; give one vector [d] for each sentence"
            )
        yield from zip(names, table, strict=True)
        return
    try:
        found: Any = unpickle_arrays(path)
    except WeightsError as error:
        raise DataError(str(error)) from error
    with reading(path, advice="needs a list of (clip, vectors) as in TALL's clip-sentvec files"):
        pairs = [(clip.decode() if isinstance(clip, bytes) else str(clip), of_clip) for clip, of_clip in found]
        vectors = [
            (f"{name}#{number}", np.asarray(vector, np.float32).reshape(-1))
            for name, of_clip in pairs
            for number, vector in enumerate(of_clip)
        ]
    yield from vectors
