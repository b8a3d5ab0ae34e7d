"""Clips in tar archives: written, read where they lie, in an order that a killed run takes up again."""

import io
import json
import tarfile

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.engine.test_resume import same
from tests.engine.toy import sharing
from videozoo.cli.prepare import app
from videozoo.data import shards as shards_module
from videozoo.data.clip_folder import clip_folder
from videozoo.data.shards import shards, write_shards
from videozoo.engine.loader import TrainLoader
from videozoo.engine.order import order_of
from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.decode import open_video, probe
from videozoo.io.encode import write_video
from videozoo.io.slice import FileSlice
from videozoo.transforms.input import ClipInput


def draw(path, *, level=0, num_frames=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(level)
    write_video(path, [rng.integers(0, 255, (32, 48, 3), np.uint8) for _ in range(num_frames)], fps=10)


def write_tar(path, members):
    """A tar as WebDataset's writer makes it: the parts of a sample one after the other."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of twelve clips and the shards that were made of it."""
    place = tmp_path_factory.mktemp("shards")
    for i in range(12):
        draw(place / "clips" / ("run", "jump", "fall")[i % 3] / f"clip {i}.mp4", level=i)
    size = next((place / "clips").rglob("*.mp4")).stat().st_size
    made = write_shards(clip_folder(place / "clips"), place / "tars", "train", shard_bytes=2 * size)
    assert len(made.paths) == made.num_written > 3 and not made.failed
    (place / "tars/classes.txt").write_text("fall\njump\nrun\n")
    return place


def test_the_same_samples_as_from_the_files(place):
    files = {record.id: record for record in clip_folder(place / "clips")}
    found = shards(place / "tars")
    assert found.class_names == ("fall", "jump", "run") and found.class_counts() == [4, 4, 4]
    assert {record.id: record.labels for record in found} == {id_: r.labels for id_, r in files.items()}
    assert [record.id for record in found] != sorted(files)  # classes are spread over the shards
    spec = ClipInput(num_frames=2, short_side_px=24, crop_px=24)
    for record in found:
        ours, theirs = (spec.train_pipeline()(r, np.random.default_rng(5)) for r in (record, files[record.id]))
        assert same(ours, theirs)
        with open_video(record.path) as inside, open_video(files[record.id].path) as outside:
            assert np.array_equal(inside.frames_by_index([3, 0]).data, outside.frames_by_index([3, 0]).data)
            assert inside.num_frames == 4 and inside.info.size_bytes == files[record.id].path.stat().st_size


def test_any_step_on_any_process_from_any_start(place):
    pipeline = ClipInput(num_frames=2, short_side_px=24, crop_px=24).train_pipeline()

    def loader(**changes):
        return TrainLoader(
            shards(place / "tars", shuffle_shards=2), pipeline, batch_size=4, seed=7, **sharing(**changes)
        )

    whole = list(loader().steps(0, 5))
    for ours, theirs in zip(whole[2:], loader(num_workers=1).steps(2, 5), strict=True):
        assert same(ours, theirs)
    parts = [loader(rank=rank, world_size=2) for rank in (0, 1)]
    for step, [batch] in enumerate(whole):
        assert batch["index"].tolist() == [key[1] for part in parts for key in part.keys(step)[0]]


def test_shuffled_within_some_shards_at_a_time(place):
    found = shards(place / "tars", shuffle_shards=2)
    shard_of = [record.path.parent.name.partition("@")[0] for record in found]
    order = order_of("uniform", found)
    assert sorted(order(0, 3)) == list(range(12))
    assert same(order(0, 3).tolist(), order(0, 3).tolist()) and order(0, 3).tolist() != order(0, 4).tolist()
    for epoch in range(5):
        visited = [shard_of[i] for i in order(0, epoch)]
        first_two = set(dict.fromkeys(visited).keys() - set(visited[len(visited) // 2 + 2 :]))
        assert len(first_two) >= 1  # some shards are done with before others begin
    assert len(set(map(tuple, (order_of("uniform", shards(place / "tars"))(0, e) for e in range(3))))) == 3


def test_headers_are_read_once(place, monkeypatch):
    shards(place / "tars")
    assert len(list((place / "tars").glob("*.tar.index.json"))) == len(list((place / "tars").glob("*.tar")))
    monkeypatch.setattr(shards_module, "_walk", None)  # would fail
    assert len(shards(place / "tars")) == 12
    monkeypatch.undo()
    tar = next((place / "tars").glob("*.tar"))
    (place / "tars" / f"{tar.name}.index.json").write_text('{"stamp": 1}')
    assert len(shards(place / "tars")) == 12


def test_what_is_complete_is_kept(place, tmp_path):
    dataset = clip_folder(place / "clips")
    first = write_shards(dataset, tmp_path, "train", shard_bytes=20_000)
    bytes_ = [path.read_bytes() for path in first.paths]
    first.paths[0].write_bytes(bytes_[0][: len(bytes_[0]) // 2])
    again = write_shards(dataset, tmp_path, "train", shard_bytes=20_000)
    assert (again.num_written, again.num_kept) == (1, len(bytes_) - 1)
    assert [path.read_bytes() for path in again.paths] == bytes_


def test_webdatasets_own_names(tmp_path, place):
    clip = next((place / "clips").rglob("*.mp4")).read_bytes()
    text = json.dumps({"label": "jump", "text": "a jump"}).encode()
    write_tar(
        tmp_path / "a-000.tar",
        [("./x/0001.mp4", clip), ("./x/0001.cls", b"run\n"), ("x/0002.json", text), ("x/0002.video.mp4", clip)],
    )
    write_tar(tmp_path / "a-001.tar", [("y.first.mp4", clip), ("y.json", b'"run"'), ("README", b"no sample")])
    found = shards(tmp_path / "a-{000..001}.tar")
    assert [(r.id, r.labels) for r in found] == [("x/0001", (1,)), ("x/0002", (0,)), ("y", (1,))]
    assert found.class_names == ("jump", "run") and probe(found[1].path).width_px == 48
    given = shards(tmp_path / "a-*.tar", class_names=("run", "jump"))
    assert [r.labels for r in given] == [(0,), (1,), (0,)]
    write_tar(
        tmp_path / "n.tar", [("1.mp4", clip), ("1.cls", b"2"), ("2.mp4", clip), ("2.json", b'{"labels": [0, 1]}')]
    )
    assert [r.labels for r in shards(tmp_path / "n.tar", num_classes=4, multi_label=True)] == [(2,), (0, 1)]
    with pytest.raises(DataError, match=r"n\.tar: sample '2' has 2 labels; .* or set multi_label=true"):
        shards(tmp_path / "n.tar")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.mp4", b"x")], r"t\.tar: sample '1' has no label; a sample is key\.mp4"),
        ([("1.mp4", b"x"), ("1.json", b"{}")], r"t\.tar: sample '1' has no label"),
        ([("1.mp4", b"x"), ("1.json", b"{")], r"t\.tar: sample '1':1: is not JSON \(Expecting"),
        ([("1.jpg", b"x"), ("1.cls", b"0")], r"t\.tar: sample '1' has 0 videos among the members cls, jpg;"),
        ([("1.mp4", b"x"), ("1.avi", b"x"), ("1.cls", b"0")], r"t\.tar: sample '1' has 2 videos"),
        ([("README", b"x")], r"t\.tar: holds no samples; a sample is key\.mp4"),
        ([("1.mp4", b"x"), ("1.cls", b"0"), ("2.cls", b"0"), ("1.mp4", b"x"), ("1.cls", b"0")], r"sample '2' has 0 v"),
        ([("1.mp4", b"x"), ("1.cls", b"0")] * 2, r"1 sample more than once \(1\)"),
    ],
)
def test_samples_that_are_none(tmp_path, members, message):
    write_tar(tmp_path / "t.tar", members)
    with pytest.raises(DataError, match=message):
        shards(tmp_path / "t.tar")


def test_archives_that_are_none(tmp_path, place):
    tar = next((place / "tars").glob("*.tar"))
    data = tar.read_bytes()
    (tmp_path / "none.tar").write_bytes(b"this is no tar at all" * 100)
    with pytest.raises(DataError, match=r"none\.tar: is not a tar archive \(.*\); write it again, or fetch it again"):
        shards(tmp_path / "none.tar")
    for cut in (len(data) // 2, data.rindex(b"}") + 1):
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.tar: is cut short \("):
            shards(tmp_path / "cut.tar")
    end = 512 * (1 + data.rindex(b"}") // 512)
    (tmp_path / "cut.tar").write_bytes(data[:end])
    with pytest.raises(DataError, match=rf"cut\.tar: is cut short \(it has no end mark after byte {end}\)"):
        shards(tmp_path / "cut.tar")
    with pytest.raises(DataError, match=r"holds no \*\.tar"):
        shards(place / "clips")
    with pytest.raises(ConfigError, match=r"shards\.shuffle_shards: is 0"):
        shards(place / "tars", shuffle_shards=0)


def headers(path, *members):
    """A tar of headers alone: (name, type, size) of each, the size as GNU writes numbers that are negative."""
    blocks = []
    for name, kind, size in members:
        block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
        block[156:157], block[124:136] = kind, size.to_bytes(12, "big", signed=True) if size < 0 else b"%011o\0" % size
        block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
        blocks.append(bytes(block))
    path.write_bytes(b"".join(blocks) + bytes(1024))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [("a.mp4", tarfile.REGTYPE, 0), ("b.mp4", tarfile.REGTYPE, -1024)],
            "'b.mp4' is not stored completely after byte 512",
        ),
        ([("a.mp4", tarfile.REGTYPE, -512)], "'a.mp4' is not stored completely after byte 0"),
        ([("a.mp4", tarfile.GNUTYPE_SPARSE, 0)], "'a.mp4' is not stored completely after byte 0"),
        ([("x", tarfile.GNUTYPE_LONGNAME, 0)] * 2000 + [("a.mp4", tarfile.REGTYPE, 0)], "nested too deeply"),
        ([("x", tarfile.XHDTYPE, 0)] * 2000 + [("a.mp4", tarfile.REGTYPE, 0)], "nested too deeply"),
        ([("a.mp4", tarfile.REGTYPE, 2**33 - 1)], "is cut short"),
        ([("a.mp4", tarfile.SYMTYPE, 0), ("a.cls", tarfile.LNKTYPE, 0)], "holds no samples"),
    ],
)
def test_archives_that_lead_nowhere(tmp_path, members, message):
    headers(tmp_path / "a.tar", *members)
    with pytest.raises(DataError, match=rf"a\.tar: .*{message}"):
        shards(tmp_path / "a.tar")


def test_an_archive_that_shrinks_behind_its_index(place, tmp_path):
    data = next((place / "tars").glob("*.tar")).read_bytes()
    (tmp_path / "a.tar").write_bytes(data)
    found = shards(tmp_path / "a.tar", num_classes=3)
    (tmp_path / "a.tar").write_bytes(data[:600])
    with pytest.raises(DecodeError, match=r"a\.tar@512\+\d+/\d+\.mp4: the file ends at byte 600, before this slice"):
        probe(found[0].path)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(DecodeError, match=r"a\.tar@512.*: there is no such file"):
        probe(found[0].path)


def test_addresses(tmp_path):
    part = FileSlice(tmp_path / "a b.tar", 512, 10, "x/y@1+2/z.mp4")
    assert FileSlice.find(part.address) == part
    assert FileSlice.find(tmp_path / "clip.mp4") is None
    odd = tmp_path / "x@1+2"
    odd.mkdir()
    (odd / "clip.mp4").write_bytes(b"")
    assert FileSlice.find(odd / "clip.mp4") is None  # a file that is there is itself
    (tmp_path / "a b.tar").write_bytes(b"0" * 512 + b"0123456789")
    assert part.read() == b"0123456789"


def run(*args, status=0):
    result = CliRunner().invoke(app, ["shards", *map(str, args), "--workers", "2"])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_the_command(tmp_path, place):
    for half in ("train", "val"):
        draw(tmp_path / "data" / half / "run" / f"{half}.mp4")
        draw(tmp_path / "data" / half / "jump" / f"{half}.mp4", level=1)
    (tmp_path / "data/train/run/broken.mp4").write_bytes(b"no video")
    out = run(tmp_path / "data", tmp_path / "out", status=1)
    assert "train-*.tar: 1 shard written, 0 kept, 1 failed" in out and "broken.mp4: it cannot be opened" in out
    assert [r.labels for r in shards(tmp_path / "out/val-*.tar")] in ([(0,), (1,)], [(1,), (0,)])
    (tmp_path / "data/train/run/broken.mp4").unlink()
    recipe = tmp_path / "recipe.yaml"
    data = "".join(f"  {half}: {{name: clip_folder, path: {tmp_path}/data/{half}}}\n" for half in ("train", "val"))
    recipe.write_text(f"model: {{name: tsn}}\ndata:\n{data}")
    assert "1 shard written" in run(recipe, tmp_path / "other")
    found = shards(tmp_path / "other/val-*.tar")
    assert found.class_names == ("jump", "run") and sorted(r.id for r in found) == ["jump/val.mp4", "run/val.mp4"]
    frames = tmp_path / "frames"
    (frames / "run").mkdir(parents=True)
    (frames / "list.txt").write_text("run 3 0\n")
    result = CliRunner().invoke(app, ["shards", str(frames / "list.txt"), str(tmp_path / "none")])
    assert "is a folder of frames; shards hold video files" in str(result.exception)
