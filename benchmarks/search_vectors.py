"""Time and recall of a query over stored vectors: `python benchmarks/search_vectors.py --rows 1000000 --dim 512`.

The vectors are clusters with noise around a common mean, as the vectors of a dual encoder are. Recall compares the ten
best of the fast search with those of all vectors.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from videozoo.predict.index import RunMark
from videozoo.predict.vector_index import ROWS_AT_ONCE, VectorIndex

CLUSTERS, INNER_DIM, ROWS_A_VIDEO, QUERIES = 5000, 64, 10_000, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLUSTERS, INNER_DIM), np.float32)
    spread = rng.standard_normal((INNER_DIM, args.dim), np.float32)

    def drawn(inner: np.ndarray) -> np.ndarray:
        vectors = inner @ spread + 2 * rng.standard_normal((len(inner), args.dim), np.float32) + 3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    with tempfile.TemporaryDirectory() as folder:
        index = VectorIndex.create(Path(folder) / "index", RunMark("made", "0"), dim=args.dim, window_s=4, stride_s=4)
        for number in range(args.rows // ROWS_A_VIDEO):
            video = Path(folder) / f"{number}.mp4"
            video.touch()
            noise = 0.7 * rng.standard_normal((ROWS_A_VIDEO, INNER_DIM), np.float32)
            starts_s = 4.0 * np.arange(ROWS_A_VIDEO)
            times_s = np.stack([starts_s, starts_s + 4], axis=1)
            vectors = drawn(centers[rng.integers(CLUSTERS, size=ROWS_A_VIDEO)] + noise)
            index.add(video, 4.0 * ROWS_A_VIDEO, times_s, vectors)
        index.write_components()
        index = VectorIndex.open(Path(folder) / "index")
        wall_s, cpu_s, recalls = [], [], []
        for query in drawn(centers[:QUERIES]):
            index.nearest(query, top=10)  # its rows are in memory: only the search is measured
            began_s, used_s = time.perf_counter(), time.process_time()
            found = index.nearest(query, top=10)
            wall_s.append(time.perf_counter() - began_s)
            cpu_s.append(time.process_time() - used_s)
            best = [score for *_, score in found.hits]
            parts = (index.vectors[i : i + ROWS_AT_ONCE] for i in range(0, index.num_rows, ROWS_AT_ONCE))
            exact = np.sort(np.concatenate([part.astype(np.float32) @ query for part in parts]))[::-1][:10]
            recalls.append(float(np.mean(np.isclose(best, exact, atol=1e-6))))
        print(
            f"{index.num_rows} rows of {args.dim}: wall {1000 * statistics.median(wall_s):.0f} ms, "
            f"processor {1000 * statistics.median(cpu_s):.0f} ms (median of {QUERIES}); recall {np.mean(recalls):.3f}"
        )


if __name__ == "__main__":
    main()
