"""Kinetics' CSV files: where a row's video may lie, what is missing, and what is refused."""

import pytest

from videozoo.data.kinetics_csv import kinetics_csv
from videozoo.errors import DataError

HEADER = "label,youtube_id,time_start,time_end,split\n"
ROWS = """\
testifying,---QUuC4vJs,84,94,val
"eating spaghetti",--3ouPhoy2A,20,30,val
air drumming,-0ihMC0rhX0,1,11.5,train
"""


@pytest.fixture
def csv_file(tmp_path):
    file = tmp_path / "k400.csv"
    file.write_text(HEADER + ROWS)
    return file


def place(tmp_path, *names):
    for name in names:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path / "videos"


@pytest.mark.parametrize(
    "names",
    [
        ("---QUuC4vJs_000084_000094.mp4", "--3ouPhoy2A_000020_000030.mp4", "-0ihMC0rhX0_000001_000011.mp4"),
        ("---QUuC4vJs.mp4", "--3ouPhoy2A.mkv", "-0ihMC0rhX0.webm"),
        (
            "testifying/---QUuC4vJs_000084_000094.mp4",
            "eating_spaghetti/--3ouPhoy2A_000020_000030.mp4",
            "air drumming/-0ihMC0rhX0_000001_000011.mp4",
        ),
        (
            "val/testifying/---QUuC4vJs_000084_000094.mp4",
            "val/eating spaghetti/--3ouPhoy2A.mp4",
            "train/air drumming/-0ihMC0rhX0_000001_000011.mp4",
        ),
    ],
    ids=["flat", "by id", "by class", "by split and class"],
)
def test_layouts(tmp_path, csv_file, names):
    dataset = kinetics_csv(csv_file, place(tmp_path, *names))
    assert dataset.class_names == ("air drumming", "eating spaghetti", "testifying")
    assert [record.path for record in dataset] == [tmp_path / "videos" / name for name in names]
    assert [record.labels for record in dataset] == [(2,), (1,), (0,)]
    assert dataset[0].id == "---QUuC4vJs_000084_000094"
    assert {(record.start_s, record.end_s) for record in dataset} == {(None, None)}


def test_a_video_in_two_folders_is_taken_from_its_class(tmp_path):
    (tmp_path / "k.csv").write_text(f"{HEADER}run,abc,0,10,val\n")
    videos = place(tmp_path, "jump/abc_000000_000010.mp4", "run/abc_000000_000010.mp4")
    assert kinetics_csv(tmp_path / "k.csv", videos)[0].path.parent.name == "run"


def test_whole_videos_carry_the_span(tmp_path, csv_file):
    videos = place(tmp_path, "---QUuC4vJs.mp4", "--3ouPhoy2A_000020_000030.mp4", "-0ihMC0rhX0_000001_000011.mp4")
    dataset = kinetics_csv(csv_file, videos, whole_videos=True)
    assert [(r.start_s, r.end_s) for r in dataset] == [(84.0, 94.0), (None, None), (None, None)]


def test_a_split_takes_its_rows_and_keeps_all_classes(tmp_path, csv_file):
    dataset = kinetics_csv(csv_file, place(tmp_path, "-0ihMC0rhX0.mp4"), split="train")
    assert [record.labels for record in dataset] == [(0,)]
    assert len(dataset.class_names) == 3
    assert dataset.notes == ("2 of 3 classes without samples: eating spaghetti, testifying",)
    with pytest.raises(DataError, match=r"no row has the split 'vall'; did you mean 'val'\? accepted: train, val"):
        kinetics_csv(csv_file, tmp_path / "videos", split="vall")


def test_missing_videos_are_an_error_or_counted(tmp_path, csv_file):
    videos = place(tmp_path, "--3ouPhoy2A.mp4")
    with pytest.raises(
        DataError,
        match=r"k400.csv:2: no video '---QUuC4vJs_000084_000094' or '---QUuC4vJs' \(below .*videos\); "
        r"2 of 3 entries lack their video \(also lines 4\); "
        r"fetch the videos or correct video_dir, or set missing=skip",
    ):
        kinetics_csv(csv_file, videos)
    dataset = kinetics_csv(csv_file, videos, missing="skip")
    assert [record.id for record in dataset] == ["--3ouPhoy2A_000020_000030"]
    assert len(dataset.class_names) == 3
    assert dataset.notes[0].startswith("left out 2 of 3 entries without their video")


def test_the_test_set_has_no_labels(tmp_path):
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nabc,0,10,test\n")
    dataset = kinetics_csv(tmp_path / "test.csv", place(tmp_path, "abc.mp4"), class_names=["run", "jump"])
    assert dataset[0].labels == ()
    assert dataset.class_names == ("run", "jump")
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        (
            "a,b\n1,2\n",
            {},
            r"k.csv: has no column 'youtube_id', only \['a', 'b'\]; add youtube_id, time_start, time_end",
        ),
        ("", {}, r"k.csv: has no column 'youtube_id', only \[\]; add"),
        (HEADER, {}, r"k.csv: holds no rows below its header"),
        (f"{HEADER}run,abc,0,10,val\nrun,abc\n", {}, r"k.csv:3: the times '' and '' are not numbers"),
        (
            f"{HEADER}run,abc,x,10,val\n",
            {},
            r"k.csv:2: the times 'x' and '10' are not numbers; give seconds",
        ),
        (
            f"{HEADER}run,abc,10,10,val\n",
            {},
            r"k.csv:2: label='run' youtube_id='abc' start_s=10.0 end_s=10.0 is no",
        ),
        (
            f"{HEADER},abc,0,10,val\n",
            {},
            r"k.csv:2: label='' youtube_id='abc' .* a row needs a label, an id and",
        ),
        (
            f"{HEADER}run,abc,0,10,val\n412,abc,0,10,val\n",
            {"class_names": ["run"] + [f"c{i}" for i in range(399)]},
            r"k.csv:3: label 412 is outside 0..399; .* names 400 classes",
        ),
        (
            f"{HEADER}runing,abc,0,10,val\n",
            {"class_names": ["running"]},
            r"k.csv:2: label 'runing' is not a class, .*; did you mean 'running'\?",
        ),
    ],
)
def test_refused_files(tmp_path, text, args, message):
    (tmp_path / "k.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        kinetics_csv(tmp_path / "k.csv", place(tmp_path, "abc.mp4"), **args)


def test_folders_without_videos(tmp_path, csv_file):
    with pytest.raises(DataError, match=r"nowhere: this folder of videos does not exist; correct the path"):
        kinetics_csv(csv_file, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no videos; known endings are .3gp .asf .avi"):
        kinetics_csv(csv_file, tmp_path / "empty")
