"""UCF101's official split files."""

import pytest

from videozoo.data.ucf101 import ucf101
from videozoo.errors import DataError

CLIPS = ("Archery/v_Archery_g08_c01", "Archery/v_Archery_g01_c01", "Basketball/v_Basketball_g08_c01")


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Archery\r\n2 Basketball\r\n")
    (folder / "trainlist01.txt").write_text(f"{CLIPS[0]}.avi 1\r\n{CLIPS[2]}.avi 2\r\n")
    (folder / "testlist01.txt").write_text(f"{CLIPS[1]}.avi\r\n")
    return folder


def videos(tmp_path, names):
    for name in names:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path / "videos"


def test_train_and_test(tmp_path, lists):
    root = videos(tmp_path, [f"{clip}.avi" for clip in CLIPS])
    train = ucf101(root, lists)
    assert train.class_names == ("Archery", "Basketball")
    assert [(r.id, r.path, r.labels) for r in train] == [
        (f"{CLIPS[0]}.avi", root / f"{CLIPS[0]}.avi", (0,)),
        (f"{CLIPS[2]}.avi", root / f"{CLIPS[2]}.avi", (1,)),
    ]
    test = ucf101(root, lists, subset="test", class_names=train.class_names)
    assert [(r.id, r.labels) for r in test] == [(f"{CLIPS[1]}.avi", (0,))]


def test_flat_folders_of_re_encoded_videos(tmp_path, lists):
    root = videos(tmp_path, [f"{clip.partition('/')[2]}.mp4" for clip in CLIPS])
    assert ucf101(root, lists)[0].path == root / "v_Archery_g08_c01.mp4"


def test_given_class_names_give_the_indices(tmp_path, lists):
    root = videos(tmp_path, [f"{clip}.avi" for clip in CLIPS])
    dataset = ucf101(root, lists, class_names=["Basketball", "Diving", "Archery"])
    assert [record.labels for record in dataset] == [(2,), (0,)]
    with pytest.raises(
        DataError, match=r"trainlist01.txt:2: class folder 'Basketball' is not a class, .* names 1 class"
    ):
        ucf101(root, lists, class_names=["Archery"])


def test_missing_videos(tmp_path, lists):
    root = videos(tmp_path, [f"{CLIPS[0]}.avi"])
    with pytest.raises(
        DataError,
        match=r"trainlist01.txt:2: no video 'Basketball/v_Basketball_g08_c01.avi' \(below .*videos\); "
        r"1 of 2 entries lack their video; fetch the videos or correct the path, or set missing=skip",
    ):
        ucf101(root, lists)
    dataset = ucf101(root, lists, missing="skip")
    assert len(dataset) == 1
    assert dataset.notes[0].startswith("left out 1 of 2 entries")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"trainlist01.txt: the list is empty; fetch the splits again"),
        ("v_Archery_g08_c01.avi 1", r"trainlist01.txt:1: 'v_Archery_g08_c01.avi 1' is malformed; a line is"),
        ("Archery/v_Archery_g08_c01.avi one", r"trainlist01.txt:1: .* is malformed"),
        (
            "Archery/v_Archery_g08_c01.avi 2",
            r"trainlist01.txt:1: label 2 is not Archery's; .*classInd.txt gives it 1",
        ),
        (
            "Arcery/v_Archery_g08_c01.avi 1",
            r"'Arcery' is not a class, .*classInd.txt names 2 .* did you mean 'Archery'\?",
        ),
    ],
)
def test_refused_lists(tmp_path, lists, text, message):
    (lists / "trainlist01.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        ucf101(videos(tmp_path, [f"{CLIPS[0]}.avi"]), lists)


def test_missing_lists(tmp_path, lists):
    with pytest.raises(DataError, match=r"trainlist02.txt: there is no such UCF101 split; correct the path"):
        ucf101(videos(tmp_path, [f"{CLIPS[0]}.avi"]), lists, split=2)
    (lists / "classInd.txt").unlink()
    with pytest.raises(DataError, match=r"classInd.txt: there is no such file of class names"):
        ucf101(tmp_path / "videos", lists)
