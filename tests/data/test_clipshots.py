import json

import pytest

from videozoo.data.clipshots import clipshots
from videozoo.errors import DataError


def written(tmp_path, entries, *videos):
    for name in videos:
        (tmp_path / name).write_bytes(b"not opened")
    path = tmp_path / "train.json"
    path.write_text(json.dumps(entries))
    return path


def test_transitions_are_read_in_order(tmp_path):
    entries = {"a.mp4": {"transitions": [[50, 60], [9, 10]], "frame_num": 100.0}, "b.mp4": {"transitions": []}}
    records = clipshots(written(tmp_path, entries, "a.mp4", "b.mp4"))
    assert [record.transitions for record in records] == [((9, 10), (50, 60)), ()]
    assert records[0].path == tmp_path / "a.mp4" and records.class_names == ("boundary",)


def test_missing_videos(tmp_path):
    path = written(tmp_path, {"a.mp4": {"transitions": []}, "b.mp4": {"transitions": []}}, "a.mp4")
    with pytest.raises(DataError, match=r"train\.json: 1 of 2 videos do not exist below .* \(b\.mp4\); correct"):
        clipshots(path)
    records = clipshots(path, missing="skip")
    assert len(records) == 1 and records.notes == ("left out 1 of 2 videos that are missing: b.mp4",)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a.mp4": {"transitions": [[10, 9]]}}, r"a\.mp4: the transition \[10, 9\] does not run forwards"),
        ({"a.mp4": {"transitions": [[-1, 9]]}}, "transitions.*greater than or equal to 0"),
        ({"a.mp4": {}}, "a.mp4.*transitions"),
        ([], "needs {video"),
        ({}, "names no videos"),
    ],
)
def test_faults(tmp_path, entries, message):
    with pytest.raises(DataError, match=message):
        clipshots(written(tmp_path, entries, "a.mp4"))
