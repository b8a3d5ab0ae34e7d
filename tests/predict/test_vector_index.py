"""An index of vectors whose nearest rows are known, also after an interrupted run."""

import json

import numpy as np
import pytest

from videozoo.errors import DataError
from videozoo.predict import vector_index
from videozoo.predict.index import RunMark
from videozoo.predict.vector_index import VectorIndex

RUN = RunMark("runs/a", "0" * 64)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def filled(folder, *, videos=3, rows=20, dim=70, seed=0):
    """An index of random vectors, the files of its videos beside it."""
    rng = np.random.default_rng(seed)
    index = VectorIndex.create(folder / "index", RUN, dim=dim, window_s=2, stride_s=2)
    vectors = unit(rng.standard_normal((videos, rows, dim)) + 1)
    for number in range(videos):
        (folder / f"{number}.mp4").write_bytes(b"video")
        starts_s = 2.0 * np.arange(rows)
        index.add(folder / f"{number}.mp4", 2.0 * rows, np.stack([starts_s, starts_s + 2], 1), vectors[number])
    return index, vectors


def places(found):
    return [(video.path.rpartition("/")[2], start_s, round(score, 3)) for video, start_s, _, score in found.hits]


def test_the_nearest_rows_are_found(tmp_path):
    index, vectors = filled(tmp_path)
    query = unit(vectors[1, 7] + 0.01)
    scores = vectors @ query
    best = sorted(((scores[v, r], v, r) for v in range(3) for r in range(20)), reverse=True)[:4]
    for opened in (index, VectorIndex.open(tmp_path / "index")):
        found = opened.nearest(query, top=4)
        assert places(found) == [(f"{v}.mp4", 2.0 * r, pytest.approx(score, abs=2e-3)) for score, v, r in best]
    assert places(found)[0][:2] == ("1.mp4", 14.0)


def test_components_find_what_all_rows_would(tmp_path, monkeypatch):
    index, vectors = filled(tmp_path, videos=4, rows=500)
    queries = [unit(vectors[k % 4, 11 * k] + 0.3 * vectors[0, k]) for k in range(10)]
    wanted = [places(index.nearest(query, top=1)) for query in queries]
    monkeypatch.setattr(vector_index, "EXACT_ROWS", 100)
    monkeypatch.setattr(vector_index, "CANDIDATES", 60)
    monkeypatch.setattr(vector_index, "COMPONENTS", 40)
    index.write_components()
    assert (tmp_path / "index" / "components.f32").stat().st_size == 2000 * 40 * 4
    assert len(index._candidates(queries[0])) == 60
    assert [places(index.nearest(query, top=1)) for query in queries] == wanted
    (tmp_path / "9.mp4").write_bytes(b"video")
    index.add(tmp_path / "9.mp4", 2.0, np.array([[0.0, 2.0]]), queries[5][None])  # the components are old now
    assert places(index.nearest(queries[5], top=1))[0][0] == "9.mp4"


def test_overlapping_stretches_of_a_video_are_one_hit(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"video")
    index = VectorIndex.create(tmp_path / "index", RUN, dim=2, window_s=4, stride_s=2)
    times_s = np.array([[0.0, 4], [2, 6], [4, 8]])
    index.add(tmp_path / "a.mp4", 8.0, times_s, unit(np.array([[1.0, 0.1], [1, 0], [0.5, 1]])))
    assert [hit[1:3] for hit in index.nearest(np.array([1.0, 0])).hits] == [(2.0, 6.0)]


def test_an_interrupted_run_continues(tmp_path):
    index, vectors = filled(tmp_path)
    with (tmp_path / "index" / "vectors.f16").open("ab") as file:
        file.write(b"\0" * 77)  # half a video
    with (tmp_path / "index" / "videos.jsonl").open("a") as file:
        file.write('{"added": {"path": "/x')
    index = VectorIndex.open(tmp_path / "index")
    assert len(index) == 60 and len(index.videos) == 3
    (tmp_path / "3.mp4").write_bytes(b"video")
    index.add(tmp_path / "3.mp4", 2.0, np.array([[0.0, 2.0]]), -vectors[:1, 0])
    index = VectorIndex.open(tmp_path / "index")
    assert len(index) == 61
    assert places(index.nearest(-vectors[0, 0], top=1))[0][:2] == ("3.mp4", 0.0)
    assert places(index.nearest(vectors[2, 3], top=1))[0][:2] == ("2.mp4", 6.0)


def test_changed_and_gone_videos(tmp_path):
    index, vectors = filled(tmp_path)
    path = tmp_path / "1.mp4"
    assert index.state_of(path) == "same" and index.state_of(tmp_path / "new.mp4") == "gone"
    path.write_bytes(b"another video")
    assert index.state_of(path) == "changed"
    index.add(path, 2.0, np.array([[0.0, 2.0]]), -vectors[0, :1])
    index.remove(str(tmp_path / "2.mp4"))
    index = VectorIndex.open(tmp_path / "index")
    assert index.state_of(path) == "same" and len(index) == 21
    for row in vectors[1:].reshape(40, -1):  # rows of the old file and of the video that was taken out
        assert {name for name, *_ in places(index.nearest(row, top=50))} == {"0.mp4", "1.mp4"}


def test_whether_something_stands_out(tmp_path):
    rng = np.random.default_rng(5)
    index, _ = filled(tmp_path, videos=10, rows=100, dim=64)
    query = unit(rng.standard_normal(64))
    ordinary = index.nearest(query)
    assert not ordinary.stands_out and 2 < ordinary.deviations < ordinary.needed
    (tmp_path / "it.mp4").write_bytes(b"video")
    index.add(tmp_path / "it.mp4", 2.0, np.array([[0.0, 2.0]]), query[None])
    special = index.nearest(query)
    assert special.stands_out and special.hits[0][0].path.endswith("it.mp4")
    (tmp_path / "few").mkdir()
    few, vectors = filled(tmp_path / "few", videos=1, rows=10)
    assert few.nearest(vectors[0, 0]).stands_out and few.nearest(vectors[0, 0]).deviations is None


def test_faults(tmp_path):
    index, _ = filled(tmp_path)
    with pytest.raises(DataError, match=r"index: is the index of runs/a \(weights 00000000\), not of b \(weights 1111"):
        index.check_run(RunMark("b", "1" * 64))
    folder = tmp_path / "index"
    (folder / "times.f32").write_bytes(b"")
    with pytest.raises(DataError, match=r"times\.f32: is shorter than 60 rows; make it again"):
        VectorIndex.open(folder)
    described = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**described, "version": 2}))
    with pytest.raises(DataError, match="is not an index of vectors of version 1"):
        VectorIndex.open(folder)
    assert not VectorIndex.create(tmp_path / "empty", RUN, dim=4, window_s=1, stride_s=1).nearest(np.ones(4)).hits
