from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from videozoo.data.youtube8m import read_vocabulary, youtube8m
from videozoo.data.youtube8m_pkl import write_pickle, write_pickles, youtube8m_pkl
from videozoo.engine.loader import TrainLoader
from videozoo.errors import ConfigError, DataError
from videozoo.io.tfrecord import encode_example, encode_sequence_example, write_tfrecord
from videozoo.transforms.features import FeaturesInput

SPEC = FeaturesInput(num_frames=4, feature_dims=(3, 2))


def frame_level(id_, *, num_frames=3, labels=(1,), width=3):
    return encode_sequence_example(
        {"id": [id_.encode()], "labels": np.array(labels, np.int64)},
        {name: [[bytes([t] * d)] for t in range(num_frames)] for name, d in (("rgb", width), ("audio", 2))},
    )


def video_level(id_):
    means = {"mean_rgb": np.ones(3, np.float32), "mean_audio": np.zeros(2, np.float32)}
    return encode_example({"id": [id_.encode()], "labels": np.array([0], np.int64), **means})


@pytest.fixture
def shards(tmp_path):
    for s in range(3):
        records = [frame_level(f"v{s}{i}", num_frames=2 + i) for i in range(4)]
        write_tfrecord(tmp_path / f"s{s}.tfrecord", records, compress=s == 1)
    return tmp_path


def test_frame_level(shards):
    data = youtube8m(shards, num_classes=3)
    assert len(data) == 12 and data.class_names == ("0", "1", "2")
    sample = SPEC.eval_pipeline(num_classes=3)(data[6])
    assert sample["id"] == "v12" and sample["num_frames"] == 4
    assert sample["features"].tolist() == [[t] * 5 for t in range(4)]
    assert sample["label"].tolist() == [0, 1, 0]


def test_patterns_lists_and_files_are_the_same(shards):
    (shards / "all.list").write_text("s0.tfrecord\ns2.tfrecord\n")
    assert len(youtube8m(shards / "all.list")) == len(youtube8m(f"{shards}/s[02].tfrecord")) == 8
    assert len(youtube8m(shards / "s0.tfrecord")) == 4


def test_dequantised_and_padded_on_the_device():
    batch = {
        "features": torch.full((2, 4, 5), 255, dtype=torch.uint8),
        "num_frames": torch.tensor([1, 2]),
    }
    found = FeaturesInput(num_frames=4, feature_dims=(3, 2), mid_bin=(False, True)).to_device(batch, "cpu")
    assert found["mask"].tolist() == [[True, False], [True, True]]
    torch.testing.assert_close(found["features"][0, 0], torch.tensor([2.0] * 3 + [2.0078125] * 2))
    assert not found["features"][0, 1].any()


def test_segments(shards):
    spec = FeaturesInput(num_frames=3, sampling="segments", feature_dims=(3, 2))
    assert spec.sample(30, None).tolist() == [5, 15, 25]
    drawn = np.stack([spec.sample(30, np.random.default_rng(i)) for i in range(200)])
    assert (drawn // 10 == np.arange(3)).all() and len(np.unique(drawn)) == 30


def test_video_level(tmp_path):
    write_tfrecord(tmp_path / "a.tfrecord", [video_level("x")])
    sample = SPEC.eval_pipeline(num_classes=2)(youtube8m(tmp_path, num_classes=2)[0])
    assert sample["num_frames"] == 1 and sample["features"][0].tolist() == [1, 1, 1, 0, 0]


def test_bounded_shuffle_reads_shards_together(shards):
    data = youtube8m(shards, num_classes=3, shuffle_shards=1)
    loader = TrainLoader(data, SPEC.train_pipeline(num_classes=3), batch_size=4, seed=1)
    epochs = [[loader.keys(step)[0] for step in range(3 * e, 3 * e + 3)] for e in (0, 1)]
    for epoch in epochs:
        assert sorted(i for keys in epoch for _, i in keys) == list(range(12))
        assert all(len({i // 4 for _, i in keys}) == 1 for keys in epoch)
    assert [[i for _, i in keys] for keys in epochs[0]] != [[i for _, i in keys] for keys in epochs[1]]
    whole = [b["id"] for step in loader.steps(0, 6) for b in step]
    assert [b["id"] for step in loader.steps(4, 6) for b in step] == whole[4:]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (frame_level("x", width=4), r"a.tfrecord at byte 0: features have the widths \(4, 2\), but the recipe says"),
        (frame_level("x", labels=(7,)), r"a.tfrecord at byte 0: label 7 is outside 0..2"),
        (frame_level("x", num_frames=0), r"a.tfrecord at byte 0: .*"),
    ],
)
def test_bad_records(tmp_path, record, message):
    write_tfrecord(tmp_path / "a.tfrecord", [record])
    data = youtube8m(tmp_path, num_classes=3, features=("rgb", "audio"))
    with pytest.raises(DataError, match=message):
        SPEC.eval_pipeline(num_classes=3)(data[0])


def test_mixed_schemas(tmp_path):
    write_tfrecord(tmp_path / "a.tfrecord", [frame_level("x"), video_level("y")])
    with pytest.raises(DataError, match=r"has no 'rgb', only id, labels, mean_audio, mean_rgb; do not mix"):
        SPEC.eval_pipeline(num_classes=3)(youtube8m(tmp_path)[1])


def test_bad_places(tmp_path):
    with pytest.raises(DataError, match=r"holds no \*.tfrecord or"):
        youtube8m(tmp_path)
    with pytest.raises(DataError, match="there is no such file, folder or pattern"):
        youtube8m(tmp_path / "x*.tfrecord")
    write_tfrecord(tmp_path / "a.tfrecord", [encode_example({"other": [b""]})])
    with pytest.raises(DataError, match=r"a.tfrecord at byte 0: the record has other; needs rgb"):
        youtube8m(tmp_path)
    with pytest.raises(ConfigError, match=r"input.mid_bin: 2 values for 1 modalities"):
        FeaturesInput(feature_dims=(3,))


def test_vocabulary(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("Index,Name\n0,Car\n2,Game\n3,Car\n")
    assert read_vocabulary(path, 4) == ("Car (0)", "1", "Game", "Car (3)")
    with pytest.raises(DataError, match=r"v.csv:4: index '3' is outside 0..2"):
        read_vocabulary(path, 3)


def test_pickles(tmp_path):
    item = {
        b"video": b"abc",
        b"feature": np.ones((5, 3), np.uint8),
        b"audio": np.ones((5, 2), np.uint8),
        b"label": [2],
        b"nframes": np.int32(3),
    }
    python2 = {k.decode(): v.decode() if isinstance(v, bytes) else v for k, v in item.items()}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([python2, python2], protocol=2))
    data = youtube8m_pkl(tmp_path, num_classes=3)
    sample = SPEC.eval_pipeline(num_classes=3)(data[1])
    assert len(data) == 2 and sample["id"] == "abc" and sample["num_frames"] == 3
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(DataError, match=r"b.pkl: it asks for '.*print', which is not part of an array"):
        youtube8m_pkl(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature": "abc"}, "video, feature, audio, label and nframes"),
        ({"feature": [[2**70]]}, "has features object .* each must be numbers"),
        ({"feature": {"a": 1}}, "video, feature, audio, label and nframes"),
        ({"nframes": "x"}, "cannot be read .*; needs video, feature"),
        ({"nframes": float("inf")}, "cannot be read .*; needs video, feature"),
        ({"label": 5}, "cannot be read .*; needs video, feature"),
        ({"label": ["x"]}, "cannot be read .*; needs video, feature"),
        ({"video": 5}, "5 is not text.*; needs video, feature"),
        ({"audio": np.array(["a"])}, "has features .* each must be numbers"),
        ({5: 1}, "5 is not text.*; needs video, feature"),
    ],
)
def test_pickles_of_other_things(tmp_path, change, message):
    item = {"video": "a", "feature": np.ones((5, 3)), "audio": np.ones((5, 2)), "label": [2], "nframes": 3}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([{**item, **change}]))
    with pytest.raises(DataError, match=rf"a\.pkl.*{message}"):
        youtube8m_pkl(tmp_path, num_classes=3)[0].read()


@pytest.mark.parametrize("change", [{"id": [b"\xff"]}, {"labels": [b"x"]}, {"labels": np.array([np.inf], np.float32)}])
def test_records_of_other_things(tmp_path, change):
    context = {"id": [b"a"], "labels": np.array([1]), "mean_rgb": np.ones(3, np.float32)}
    write_tfrecord(tmp_path / "a.tfrecord", [encode_example({**context, **change})])
    with pytest.raises(
        DataError, match=r"a\.tfrecord at byte 0: is not a YouTube-8M record \(.*\); fetch the file again"
    ):
        youtube8m(tmp_path, num_classes=3)[0].read()


def test_pickles_that_are_written_are_read(shards, tmp_path):
    path, count, bad = write_pickle(shards / "s1.tfrecord", tmp_path)
    assert (path.name, count, bad) == ("s1.pkl", 4, [])
    pickles, records = youtube8m_pkl(path, num_classes=3), youtube8m(shards / "s1.tfrecord", num_classes=3)
    for ours, theirs in zip(pickles, records, strict=True):
        (id_, parts, labels), (wanted_id, wanted, wanted_labels) = ours.read(), theirs.read()
        assert (id_, labels) == (wanted_id, wanted_labels)
        assert all(np.array_equal(a, b) for a, b in zip(parts, wanted, strict=True))
    with path.open("rb") as file:  # as PaddleVideo opens them
        items = pickle.load(file, encoding="bytes")
    assert set(items[0]) == {b"video", b"feature", b"audio", b"label", b"nframes"}
    assert items[2][b"video"] == b"v12" and items[2][b"feature"].shape == (4, 3) and items[2][b"nframes"] == 4


def test_pickles_leave_damaged_records_out(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_tfrecord(path, [frame_level("x"), frame_level("y")])
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    _, count, bad = write_pickle(path, tmp_path)
    assert count == 1 and len(bad) == 1 and "a.tfrecord at byte 0: wrong checksum" in bad[0]
    write_tfrecord(path, [video_level("x")])
    with pytest.raises(DataError, match=r"none of its 1 video can be read, the first since .* has no 'rgb'"):
        write_pickle(path, tmp_path)
    with pytest.raises(DataError, match=r"'a.pkl' would hold 2 shards; convert them to separate folders"):
        list(write_pickles([path, path], tmp_path))


def test_a_damaged_first_record_hides_nothing(tmp_path):
    for name in "ab":
        write_tfrecord(tmp_path / f"{name}.tfrecord", [frame_level(name)])
    path = tmp_path / "a.tfrecord"
    path.write_bytes(path.read_bytes()[:40] + b"?" + path.read_bytes()[41:])
    data = youtube8m(tmp_path)
    assert data.names == ("rgb", "audio") and data[1].read()[0] == "b"
    with pytest.raises(DataError, match=r"a.tfrecord at byte 0: wrong checksum"):
        data[0].read()


def test_frames_of_several_widths(tmp_path):
    lists = {"rgb": [[b"abc"], [b"abcd"]], "audio": [[b"ab"], [b"ab"]]}
    write_tfrecord(tmp_path / "a.tfrecord", [encode_sequence_example({"id": [b"x"]}, lists)])
    with pytest.raises(DataError, match=r"a.tfrecord at byte 0: the frames of 'rgb' have different widths"):
        youtube8m(tmp_path)[0].read()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty but a shard has at least one record"), (b"#!/bin/sh" + bytes(40), "is not a TFRecord file")],
)
def test_other_files_are_no_shards(tmp_path, content, message):
    write_tfrecord(tmp_path / "a.tfrecord", [frame_level("x")])
    (tmp_path / "b.tfrecord").write_bytes(content)
    with pytest.raises(DataError, match=rf"b.tfrecord: {message}"):
        youtube8m(tmp_path)
