"""`videozoo prepare frames`: videos to folders of JPEG frames and the lists that train from them."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from videozoo.cli.prepare import app
from videozoo.config.check import build
from videozoo.config.recipe import load_recipe
from videozoo.data.clip_folder import clip_folder
from videozoo.data.clip_list import clip_list
from videozoo.data.frames import prepare_frames, write_frames
from videozoo.data.registry import datasets
from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.encode import write_video
from videozoo.io.frame_folder import FrameFolder


def draw(path, *, num_frames=3, width_px=48, height_px=32):
    """A video whose frame i has the brightness 60 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, [np.full((height_px, width_px, 3), 60 * i, np.uint8) for i in range(num_frames)], fps=10)


def run(*args, status=0):
    result = CliRunner().invoke(app, ["frames", *map(str, args), "--workers", "2"])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


@pytest.fixture
def data(tmp_path):
    draw(tmp_path / "data/run/a.mp4")
    draw(tmp_path / "data/jump/my clip.mp4", num_frames=2)
    return tmp_path / "data"


def found(dataset):
    return [(record.id, record.labels, record.num_frames) for record in dataset]


def test_a_folder_of_classes(tmp_path, data):
    out = tmp_path / "out"
    assert "2 videos written, 0 kept, 0 failed" in run(data, out, "--short-side", 16)
    dataset = clip_list(out / "data.txt")
    assert dataset.class_names == ("jump", "run")
    assert found(dataset) == [("data/jump/my clip", (0,), 2), ("data/run/a", (1,), 3)]
    frames = FrameFolder(dataset[1].path, num_frames=3, template="img_{:05d}.jpg").frames_by_index([0, 1, 2])
    assert frames.data.shape == (3, 16, 24, 3)
    assert frames.data.mean((1, 2, 3)).tolist() == pytest.approx([0, 60, 120], abs=4)


def test_train_and_val_folders(tmp_path):
    draw(tmp_path / "data/train/jump/a.mp4")
    draw(tmp_path / "data/train/run/a.mp4")
    draw(tmp_path / "data/val/run/a.mp4")
    run(tmp_path / "data", tmp_path / "out")
    assert found(clip_list(tmp_path / "out/train.txt")) == [
        ("train/jump/a", (0,), 3),
        ("train/run/a", (1,), 3),
    ]
    assert found(clip_list(tmp_path / "out/val.txt")) == [("val/run/a", (1,), 3)]


def test_lists_of_the_same_data_share_their_classes(tmp_path, data):
    (data / "train.txt").write_text("jump/my clip.mp4 jump\nrun/a.mp4 run\n")
    (data / "val.txt").write_text("run/a.mp4 run\n")
    for name in ("train.txt", "val.txt"):
        run(data / name, tmp_path / "out")
    assert found(clip_list(tmp_path / "out/val.txt")) == [("val/run/a", (1,), 3)]


def test_a_list_with_several_labels_and_frames(tmp_path, data):
    (data / "clip").mkdir()
    (data / "l.txt").write_text("run/a.mp4 0 2\nclip 12 1\nrun/a.mp4 1\n")
    run(data / "l.txt", tmp_path / "out", "--multi-label")
    dataset = clip_list(tmp_path / "out/l.txt", multi_label=True)
    assert found(dataset) == [
        ("l/run/a", (0, 2), 3),
        (str((data / "clip").resolve()), (1,), 12),
        ("l/run/a#2", (1,), 3),
    ]
    assert not (tmp_path / "out/classes.txt").exists()  # numbers are no names


def test_it_goes_on_where_it_stopped(tmp_path, data):
    out = tmp_path / "out"
    run(data, out)
    kept = out / "data/run/a/img_00001.jpg"
    kept.write_bytes(b"untouched")
    broken_off = out / "data/jump/my clip"
    (broken_off / ".done.json").unlink()
    (broken_off / "img_00009.jpg").touch()
    assert "1 video written, 1 kept, 0 failed" in run(data, out)
    assert kept.read_bytes() == b"untouched"
    assert sorted(p.name for p in broken_off.iterdir()) == [".done.json", "img_00001.jpg", "img_00002.jpg"]
    assert "2 videos written, 0 kept, 0 failed" in run(data, out, "--quality", 50)  # other settings: all again
    assert json.loads((broken_off / ".done.json").read_text())["quality"] == 50
    draw(data / "run/a.mp4", num_frames=5)  # another video under the same name
    assert "1 video written, 1 kept, 0 failed" in run(data, out, "--quality", 50)
    assert found(clip_list(out / "data.txt"))[1] == ("data/run/a", (1,), 5)


def test_broken_videos_are_reported_and_the_others_done(tmp_path, data):
    (data / "run/bad.mp4").write_bytes(b"no video")
    (data / "run/empty.mp4").touch()
    output = run(data, tmp_path / "out", status=1)
    assert "2 videos written, 0 kept, 2 failed" in output
    assert f"failed: {data / 'run/bad.mp4'}: " in output
    assert f"failed: {data / 'run/empty.mp4'}: " in output
    assert "failed videos are left out of the lists" in output
    assert [record.id for record in clip_list(tmp_path / "out/data.txt")] == [
        "data/jump/my clip",
        "data/run/a",
    ]


def test_a_video_that_breaks_off_leaves_no_frames(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4")

    class BreaksOff:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def stream(self):
            yield 0.0, np.zeros((32, 48, 3), np.uint8)
            raise DecodeError("a.mp4", "it breaks off")

    monkeypatch.setattr("videozoo.data.frames.open_video", lambda path: BreaksOff())
    with pytest.raises(DecodeError, match="it breaks off"):
        write_frames(tmp_path / "a.mp4", tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_nothing_but_broken_videos(tmp_path):
    (tmp_path / "data/run").mkdir(parents=True)
    (tmp_path / "data/run/a.mp4").touch()
    with pytest.raises(DataError, match=r"data: none of its 1 videos can be decoded \(.*a.mp4: .*\); fetch them again"):
        prepare_frames(clip_folder(tmp_path / "data"), tmp_path / "out", "data")


def test_a_folder_that_cannot_be_written(tmp_path):
    draw(tmp_path / "a.mp4")
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"frames: cannot be written \(.*\); free some space or choose another folder"):
        write_frames(tmp_path / "a.mp4", tmp_path / "out/frames")


def test_videos_that_differ_in_their_ending_do_not_meet(tmp_path):
    draw(tmp_path / "data/run/a.mkv", num_frames=1)
    draw(tmp_path / "data/run/a.mp4", num_frames=2)
    run(tmp_path / "data", tmp_path / "out")
    assert found(clip_list(tmp_path / "out/data.txt")) == [
        ("data/run/a", (0,), 1),
        ("data/run/a-mp4", (0,), 2),
    ]


@pytest.mark.parametrize(("short_side_px", "size"), [(None, (48, 32)), (256, (48, 32)), (32, (48, 32)), (20, (30, 20))])
def test_frames_are_scaled_down_only(tmp_path, short_side_px, size):
    draw(tmp_path / "a.mp4")
    assert write_frames(tmp_path / "a.mp4", tmp_path / "f", short_side_px=short_side_px) == (3, False)
    with Image.open(tmp_path / "f/img_00003.jpg") as image:
        assert image.size == size
    assert write_frames(tmp_path / "a.mp4", tmp_path / "f", short_side_px=short_side_px) == (3, True)


# ---- the way on, from a prepared folder to a run -----------------------------------------------------------


def sections(folder):
    return load_recipe(folder).to_dict()["data"]


def records_of(folder):
    found = {}
    for split, args in sections(folder).items():
        found[split] = build(datasets.get(args.pop("name")), args, where=split)
    return found


@pytest.mark.parametrize("verb", ["frames", "reencode"])
def test_one_folder_of_classes_is_prepared_and_split(tmp_path, verb):
    for name in ("grows", "shrinks"):
        for i in range(3):
            draw(tmp_path / f"mine/{name}/{i}.mp4")
    out = tmp_path / "my out"
    result = CliRunner().invoke(app, [verb, str(tmp_path / "mine"), str(out), "--workers", "2"])
    assert result.output.splitlines()[-1] == f"train on it: videozoo train '{out}' --out 'runs/my out'"
    data = records_of(out)
    assert data["train"].class_names == data["val"].class_names == ("grows", "shrinks")
    assert (data["train"].class_counts(), data["val"].class_counts()) == ([2, 2], [1, 1])
    assert not {record.id for record in data["train"]} & {record.id for record in data["val"]}


def test_prepared_halves_stay_as_they_are(tmp_path):
    for half, names in (("train", "ab"), ("val", "c")):
        for name in names:
            draw(tmp_path / f"data/{half}/run/{name}.mp4")
            draw(tmp_path / f"data/{half}/jump/{name}.mp4")
    assert f"videozoo train {tmp_path / 'out'} --out runs/out" in run(tmp_path / "data", tmp_path / "out")
    assert [len(dataset) for dataset in records_of(tmp_path / "out").values()] == [4, 2]
    result = CliRunner().invoke(app, ["shards", str(tmp_path / "data"), str(tmp_path / "tars")])
    assert "train on it: videozoo train" in result.output
    assert [len(dataset) for dataset in records_of(tmp_path / "tars").values()] == [4, 2]


def test_several_labels_need_an_option_to_train(tmp_path, data):
    (tmp_path / "tags.txt").write_text("data/run/a.mp4 0 1\ndata/jump/my clip.mp4 0\n")
    said = run(tmp_path / "tags.txt", tmp_path / "out", "--multi-label")
    assert "out data.train.multi_label=true data.val.multi_label=true --out runs/out" in said


def test_lists_that_do_not_say_their_split(tmp_path, data):
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text("data/run/a.mp4 0\n")
        said = run(tmp_path / f"{name}.txt", tmp_path / "out")
    assert "train from it" not in said
    with pytest.raises(ConfigError, match=r"out: holds the lists one\.txt, two\.txt, not train\.txt and val"):
        load_recipe(tmp_path / "out")
    CliRunner().invoke(app, ["shards", str(data), str(tmp_path / "tars")])
    with pytest.raises(ConfigError, match=r"tars: holds shards of data only, which are not split; prepare a folder"):
        load_recipe(tmp_path / "tars")


def test_folders_that_were_not_prepared(tmp_path, data):
    (data / "readme.txt").write_text("some notes")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("some notes")
    for folder in (data, tmp_path / "empty"):
        assert {args["name"] for args in sections(folder).values()} == {"clip_folder"}
