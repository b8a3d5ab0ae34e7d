import json

import pytest

from videozoo.data.described_videos import described_videos
from videozoo.errors import DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos" / "more").mkdir(parents=True)
    for name in ("video1.mp4", "video2.mp4", "more/video3.webm"):
        (tmp_path / "videos" / name).write_bytes(b"not opened")
    return tmp_path


def test_a_csv_of_the_1k_split(folder):
    path = folder / "MSRVTT_JSFUSION_test.csv"
    path.write_text('key,vid_key,video_id,sentence\nret0,msr1,video1,a man sings\nret1,msr3,video3,"a dog, asleep"\n')
    records = described_videos(path, videos=folder / "videos")
    assert [(record.id, record.captions) for record in records] == [
        ("video1", ("a man sings",)),
        ("video3", ("a dog, asleep",)),
    ]
    assert records[1].path.name == "video3.webm"


def test_a_csv_with_several_sentences_of_a_video(folder):
    path = folder / "list.csv"
    path.write_text("video,caption\nvideo1.mp4,one\nvideo2.mp4,two\nvideo1.mp4,three\n")
    records = described_videos(path, videos=folder / "videos")
    assert [record.captions for record in records] == [("one", "three"), ("two",)]


def test_the_json_of_msrvtt(folder):
    path = folder / "MSRVTT_data.json"
    videos = [{"video_id": f"video{i}", "split": split} for i, split in enumerate(["train", "train", "test"], start=1)]
    sentences = [{"video_id": "video1", "caption": "a"}, {"video_id": "video3", "caption": "b"}]
    path.write_text(json.dumps({"videos": videos, "sentences": sentences}))
    records = described_videos(path, videos=folder / "videos", split="train")
    assert [record.id for record in records] == ["video1"]
    assert records.notes == ("left out 1 videos without a sentence: video2",)


def test_missing_videos(folder):
    path = folder / "list.csv"
    path.write_text("video_id,sentence\nvideo1,one\nvideo9,two\n")
    with pytest.raises(DataError, match=r"list\.csv: 1 of 2 videos do not exist below .*videos \(video9\); correct"):
        described_videos(path, videos=folder / "videos")
    records = described_videos(path, videos=folder / "videos", missing="skip")
    assert len(records) == 1 and records.notes == ("left out 1 of 2 missing videos: video9",)


def test_rows_without_a_sentence(folder):
    path = folder / "list.csv"
    path.write_text("video_id,text\nvideo1,one\n")
    with pytest.raises(DataError, match=r"list\.csv:2: needs video_id or video, and sentence or caption"):
        described_videos(path, videos=folder / "videos")
