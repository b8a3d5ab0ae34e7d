"""List files: every form of a line, where class names come from, what is refused with file and line."""

import pytest

from videozoo.config.check import bind
from videozoo.data.clip_list import clip_list, list_line
from videozoo.data.labels import read_class_names
from videozoo.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b.mp4", "my clip.mp4", "sub/c,d.avi", "bare", "bare 7"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("frames1", "my frames 2"):
        (tmp_path / name).mkdir()
    return tmp_path


def write(folder, text, name="train.txt"):
    (folder / name).write_text(text)
    return folder / name


def found(dataset):
    return [(record.id, record.labels, record.num_frames) for record in dataset]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.mp4 3", ("a.mp4", (3,), None)),
        ("a.mp4\t3", ("a.mp4", (3,), None)),
        ("a.mp4,3", ("a.mp4", (3,), None)),
        ("  a.mp4 ,  3  ", ("a.mp4", (3,), None)),
        ("my clip.mp4 3", ("my clip.mp4", (3,), None)),
        ('"my clip.mp4" 3', ("my clip.mp4", (3,), None)),
        ("'my clip.mp4',3", ("my clip.mp4", (3,), None)),
        ("my clip.mp4\t3", ("my clip.mp4", (3,), None)),
        ("sub/c,d.avi 3", ("sub/c,d.avi", (3,), None)),
        ("bare 3", ("bare", (3,), None)),
        ("a.mp4;3", ("a.mp4", (3,), None)),
        ("my clip.mp4 ; 3", ("my clip.mp4", (3,), None)),
        ('"a.mp4";"3"', ("a.mp4", (3,), None)),
        ("frames1;120;3", ("frames1", (3,), 120)),
        ('"bare 7" 3', ("bare 7", (3,), None)),
        ("frames1 120 3", ("frames1", (3,), 120)),
        ("frames1,120,3", ("frames1", (3,), 120)),
        ("frames1\t120\t3", ("frames1", (3,), 120)),
        ("my frames 2 120 3", ("my frames 2", (3,), 120)),
    ],
)
def test_forms_of_a_line(folder, line, expected):
    dataset = clip_list(write(folder, f"{line}\n"), num_classes=4)
    assert found(dataset) == [expected]
    assert dataset[0].path == folder / expected[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.mp4 3 7", ("a.mp4", (3, 7), None)),
        ("a.mp4 3,7", ("a.mp4", (3, 7), None)),
        ("a.mp4,3,7", ("a.mp4", (3, 7), None)),
        ("a.mp4\t3\t7", ("a.mp4", (3, 7), None)),
        ("a.mp4;3;7", ("a.mp4", (3, 7), None)),
        ("a.mp4", ("a.mp4", (), None)),
        ("bare 3 7", ("bare", (3, 7), None)),
        ("frames1 120 3 7", ("frames1", (3, 7), 120)),
        ("frames1 120", ("frames1", (), 120)),
        ("'my frames 2' 120 3 7", ("my frames 2", (3, 7), 120)),
    ],
)
def test_several_labels(folder, line, expected):
    dataset = clip_list(write(folder, line), num_classes=8, multi_label=True)
    assert found(dataset) == [expected]
    assert dataset.multi_label


@pytest.mark.parametrize("path", ["a.mp4", "my clip.mp4", "sub/c,d.avi", "#tag", "it's 5", 'a "b" 1'])
@pytest.mark.parametrize("num_frames", [None, 12])
@pytest.mark.parametrize("multi_label", [False, True])
def test_written_lines_are_read_back(tmp_path, path, num_frames, multi_label):
    place = tmp_path / path
    place.parent.mkdir(exist_ok=True)
    if num_frames is None:
        place.touch()
    else:
        place.mkdir()
    labels = (1, 3) if multi_label else (3,)
    file = write(tmp_path, list_line(path, labels, num_frames=num_frames))
    assert found(clip_list(file, num_classes=4, multi_label=multi_label)) == [(path, labels, num_frames)]


def test_comments_blank_lines_marks_and_windows_ends(folder):
    (folder / "train.txt").write_bytes(b"\xef\xbb\xbf# path label\r\n\r\na.mp4 0\r\nb.mp4 1\r\n")
    assert found(clip_list(folder / "train.txt")) == [("a.mp4", (0,), None), ("b.mp4", (1,), None)]


def test_windows_separators_in_paths(folder):
    dataset = clip_list(write(folder, "sub\\c,d.avi 0\r\na.mp4 1\r\n"))
    assert [record.path for record in dataset] == [folder / "sub" / "c,d.avi", folder / "a.mp4"]


def test_paths_are_relative_to_the_list_or_to_root(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    file = write(elsewhere, f"a.mp4 0\n{folder / 'b.mp4'} 1\n")
    dataset = clip_list(file, root=folder)
    assert [record.path for record in dataset] == [folder / "a.mp4", folder / "b.mp4"]


def test_rate_of_frame_folders(folder):
    dataset = clip_list(write(folder, "a.mp4 0\nframes1 3 0"), fps=10)
    assert [record.extra for record in dataset] == [{}, {"fps": 10}]


class TestClassNames:
    def test_numbers_name_themselves(self, folder):
        assert clip_list(write(folder, "a.mp4 0\nb.mp4 2")).class_names == ("0", "1", "2")
        assert clip_list(write(folder, "a.mp4 0"), num_classes=2).class_names == ("0", "1")

    def test_names_in_the_list_are_sorted(self, folder):
        dataset = clip_list(write(folder, "a.mp4 air drumming\nb.mp4,zumba\nframes1 12 air drumming"))
        assert dataset.class_names == ("air drumming", "zumba")
        assert found(dataset) == [
            ("a.mp4", (0,), None),
            ("b.mp4", (1,), None),
            ("frames1", (0,), 12),
        ]

    def test_several_names(self, folder):
        dataset = clip_list(write(folder, "a.mp4 run jump\nb.mp4 air drumming, run"), multi_label=True)
        assert dataset.class_names == ("air drumming", "jump", "run")
        assert [record.labels for record in dataset] == [(2, 1), (0, 2)]

    @pytest.mark.parametrize("name", ["classes.txt", "labels.txt"])
    def test_a_file_beside_the_list(self, folder, name):
        write(folder, "jump\nrun\n", name)
        dataset = clip_list(write(folder, "a.mp4 run\nb.mp4 0"))
        assert dataset.class_names == ("jump", "run")
        assert [record.labels for record in dataset] == [(1,), (0,)]

    def test_given_names_win_over_the_file(self, folder):
        write(folder, "jump\nrun\n", "classes.txt")
        assert clip_list(write(folder, "a.mp4 1"), class_names=["run", "x"]).class_names == ("run", "x")

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("b\na b\n", ("b", "a b")),
            ("air drumming 1\nabseiling 0\n", ("abseiling", "air drumming")),
            ("1 Run\n2 Jump\n", ("Run", "Jump")),
            ("run,0\njump,1\n", ("run", "jump")),
            ("level 1\nlevel 2\n", ("level 1", "level 2")),
            ("top 10\ntop 20\n", ("top 10", "top 20")),
            ("7\n5\n", ("7", "5")),
        ],
    )
    def test_forms_of_the_file(self, tmp_path, text, names):
        assert read_class_names(write(tmp_path, text)) == names

    def test_the_file_may_not_be_empty_or_repeat(self, tmp_path):
        with pytest.raises(DataError, match=r"train.txt: holds no class names; write one a line"):
            read_class_names(write(tmp_path, "\n"))
        with pytest.raises(DataError, match=r"class name 'a' appears more than once"):
            read_class_names(write(tmp_path, "a\nb\na\n"))
        with pytest.raises(DataError, match=r"nowhere.txt: there is no such file of class names"):
            read_class_names(tmp_path / "nowhere.txt")

    def test_a_recipe_gives_names_or_a_path(self, folder):
        for value in (["x", "y"], "names.txt"):
            bound = bind(clip_list, {"path": "l.txt", "class_names": value}, where="data.train")
            assert str(bound["class_names"]) == str(value)


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("", {}, r"train.txt: the list is empty; a line is 'path label'"),
        ("# nothing\n", {}, r"train.txt: the list is empty"),
        ("a.mp4 0\nb.mp4\n", {}, r"train.txt:2: 'b.mp4' has no label; a line is 'path label', or"),
        ("frames1 3", {}, r"train.txt:1: 'frames1 3' has no label; .*'path num_frames label' for a folder"),
        ("frames1 run", {}, r"train.txt:1: 'frames1' is a folder without a number of frames; a line is"),
        ("frames1 0 3", {}, r"train.txt:1: 'frames1' is a folder without a number of frames"),
        (
            "a.mp4 1 2",
            {},
            r"train.txt:1: 'a.mp4' has 2 labels \(1 2\); .* several labels need multi_label=true",
        ),
        (
            "a.mp4 0\n\nb.mp4 412\n",
            {"num_classes": 400},
            r"train.txt:3: label 412 is outside 0..399; the recipe says num_classes=400",
        ),
        ("a.mp4 -1", {}, r"train.txt:1: label -1 is negative; labels count from 0"),
        (
            "a.mp4 2",
            {"class_names": ["x", "y"]},
            r"train.txt:1: label 2 is outside 0..1; .* training data names 2 classes",
        ),
        (
            "a.mp4 runing",
            {"class_names": ["jump", "running"]},
            r"train.txt:1: label 'runing' is not a class, .* names 2 classes; did you mean 'running'\?",
        ),
        (
            "a.mp4 c071",
            {"class_names": [f"c{i:03}x" for i in range(400)]},
            r"is not a class, .* names 400 classes; did you mean 'c071x' or '[^,]*' or '[^,]*'\?$",
        ),
        (
            "a.mp4 0\nb.mp4 run",
            {},
            r"train.txt:2: label 'run' is a name, but .*train.txt:1 has 0; write all labels",
        ),
        (
            "gone/x.mp4 0\na.mp4 1\n",
            {},
            r"train.txt:1: no such file 'gone/x.mp4' \(root: .*\); 1 of 2 entries lack their video; "
            r"correct the paths or the root, or set missing=skip",
        ),
        (
            "a.mp4 1\n" + "".join(f"gone{i}.mp4 0\n" for i in range(8)),
            {},
            r"train.txt:2: no such file 'gone0.mp4' .*; 8 of 9 entries lack their video "
            r"\(also lines 3, 4, 5, 6, 7 and 2 more\)",
        ),
        ("gone 12 3", {}, r"train.txt:1: no such file 'gone'"),
        ("gone 3", {}, r"train.txt:1: no such file 'gone'"),
        ("gone.mp4 0", {"missing": "skip"}, r"train.txt: all 1 entries lack their video"),
    ],
)
def test_refused_lists(folder, text, args, message):
    with pytest.raises(DataError, match=message):
        clip_list(write(folder, text), **args)


# ---- labels that look like something else ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        # a label far beyond the samples
        (
            "a.mp4 0\nb.mp4 1000000\n",
            {},
            r"train.txt:2: label 1000000 makes 1000001 classes, 999999 of them without a sample; correct the label .* "
            r"or set num_classes or class_names",
        ),
        ("a.mp4 0\nb.mp4 1\nbare 123456789123456789\n", {}, r"train.txt:3: label 123456789123456789 makes"),
        ("frames1 3 120\na.mp4 0\n", {}, r"train.txt:1: label 120 makes 121 classes.* may be a number of frames"),
        ("a.mp4 0 5000\nb.mp4 1\n", {"multi_label": True}, r"train.txt:1: label 5000 makes 5001 classes"),
        ("a.mp4 0\nb.mp4 " + "7" * 5000, {}, r"train.txt:2: label '7+\.\.\.7+' is a name, but .*:1 has 0"),
        # one column a class, and a label that stands twice
        (
            "a.mp4 1 0 0\nb.mp4 0 1 0\n",
            {"multi_label": True},
            r"train.txt:1: '1 0 0' looks like one column for each class; ",
        ),
        ("a.mp4 1 0\nb.mp4 0 1\n", {"multi_label": True}, r"train.txt:1: '1 0' looks like one column for each class"),
        ("a.mp4,0,1,1\nb.mp4,0,1,0\n", {"multi_label": True}, r"write the numbers .* that are 1 \(1 2\), or the names"),
        ("a.mp4 0.0 1.0\nb.mp4 1.0 1.0\n", {"multi_label": True}, r"'0.0 1.0' looks like one column for each class"),
        (
            "a.mp4 1 0 0\n",
            {"multi_label": True, "class_names": ["x", "y", "z"]},
            r"looks like one column for each class",
        ),
        ("a.mp4 1 0 0\nb.mp4 0 1 0\n", {}, r"train.txt:1: '1 0 0' looks like one column for each class"),
        ("a.mp4 1 2\nb.mp4 2 0 2\n", {"multi_label": True}, r"train.txt:2: label '2' appears twice; name each class"),
        ("a.mp4 run, jump, run\n", {"multi_label": True}, r"train.txt:1: label 'run' appears twice"),
        # times and fractions
        (
            "a.mp4 12.5\nb.mp4 3.25\n",
            {},
            r"train.txt:1: label '12.5' is a time or a number with a fraction; a label is",
        ),
        ("a.mp4 00:01:30\n", {}, r"label '00:01:30' is a time or a number with a fraction"),
        ("a.mp4 0\nb.mp4 1.0\n", {}, r"train.txt:2: label '1.0' is a time or a number with a fraction"),
        # ids
        (
            "".join(f"gone{i}.mp4 id{i}x\n" for i in range(20)) + "a.mp4 idx\n",
            {"missing": "skip"},
            r"train.txt:1: every label appears once, like an id \(e\.g\. 'id0x'\): 21 classes of one sample",
        ),
        (
            "".join(f"gone{i}.mp4 {i}\n" for i in range(20)) + "a.mp4 20\n",
            {"missing": "skip"},
            r"train.txt:1: every label appears once, like an id \(e\.g\. '0'\)",
        ),
        # headers and columns in another order
        ("path,label\na.mp4,0\n", {}, r"train.txt:1: 'path,label' is a header, not a clip; remove it, or begin"),
        ("path,label\na.mp4,0\n", {"missing": "skip"}, r"'path,label' is a header"),
        ("# mine\nVideo_Path Num_Frames Label\nframes1 3 0\n", {}, r"train.txt:2: 'Video_Path Num_Frames Label' is a"),
        ('"file";"class"\n"a.mp4";"run"\n', {}, r"is a header, not a clip"),
        ("0 a.mp4\n1 b.mp4\n", {}, r"train.txt:1: label '0' stands before 'a.mp4'; a line is 'path label'"),
        ("run,bare\n", {}, r"train.txt:1: label 'run' stands before 'bare'"),
        ("a.mp4,3,train\n", {}, r"train.txt:1: 'a.mp4' is followed by 2 columns \(3,train\); a line is"),
        # counted from 1
        (
            "a.mp4 1\nb.mp4 2\n",
            {"class_names": ["x", "y"]},
            r"train.txt:2: label 2 is outside 0..1; .*; labels count from 0, but the labels of this list .* 1 to 2",
        ),
    ],
)
def test_labels_that_look_like_something_else(folder, text, args, message):
    with pytest.raises(DataError, match=message):
        clip_list(write(folder, text), **args)


def test_what_is_said_of_the_classes_is_believed(folder):
    file = write(folder, "a.mp4 0\nb.mp4 9\n")
    assert len(clip_list(file, num_classes=10).class_names) == 10
    assert len(clip_list(file, class_names=[f"c{i}" for i in range(10)]).class_names) == 10
    with pytest.raises(ConfigError, match=r"num_classes: should be from 1 to 1000000; got 1000000000000"):
        clip_list(file, num_classes=10**12)


@pytest.mark.parametrize("text", ["a.mp4 0\nb.mp4 2\n", "a.mp4 0\nb.mp4 1\nbare 3\n"])
def test_a_list_may_lack_a_class_or_two(folder, text):
    assert "classes without samples" in clip_list(write(folder, text)).notes[0]


def test_a_file_may_be_called_like_a_heading(folder):
    (folder / "video").touch()
    assert found(clip_list(write(folder, "video label\na.mp4 run\n")))[0] == ("video", (0,), None)


def test_refused_numbers_of_classes(folder):
    file = write(folder, "a.mp4 run\nb.mp4 jump")
    with pytest.raises(ConfigError, match=r"num_classes: the recipe says 3, but the list names 2 classes; correct"):
        clip_list(file, num_classes=3)
    with pytest.raises(ConfigError, match=r"num_classes: should be from 1 to 1000000; got 0"):
        clip_list(file, num_classes=0)
    with pytest.raises(ConfigError, match=r"class_names: is empty"):
        clip_list(file, class_names=[])


def test_lists_that_cannot_be_read(folder):
    with pytest.raises(DataError, match=r"nowhere.txt: there is no such list file; correct the path"):
        clip_list(folder / "nowhere.txt")
    with pytest.raises(DataError, match=r"frames1: is a folder; give the path of a list file"):
        clip_list(folder / "frames1")
    (folder / "train.txt").write_bytes(b"a.mp4 0\nb\xff.mp4 1\n")
    with pytest.raises(DataError, match=r"train.txt:2: is not UTF-8 text \(.*\); save the list file as UTF-8"):
        clip_list(folder / "train.txt")


def test_missing_files_may_be_skipped_and_are_counted(folder):
    file = write(folder, "gone.mp4 2\na.mp4 0\nfar 12 1\n")
    dataset = clip_list(file, missing="skip")
    assert found(dataset) == [("a.mp4", (0,), None)]
    assert dataset.class_names == ("0", "1", "2")  # the classes do not depend on what was there
    assert dataset.notes[0].startswith("left out 2 of 3 entries without their video (root: ")
    assert dataset.notes[0].endswith("): lines 1, 3")


def test_repeated_samples_are_kept_and_counted(folder):
    dataset = clip_list(write(folder, "a.mp4 0\nb.mp4 0\na.mp4 0\na.mp4 0\n"))
    assert [record.id for record in dataset] == ["a.mp4", "b.mp4", "a.mp4#2", "a.mp4#3"]
    assert dataset.notes == ("2 samples listed again, counted as often: a.mp4",)


def test_numbers_mean_the_classes_beside_the_list(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    (tmp_path / "val.txt").write_text("a.mp4 0\nb.mp4 1\n")
    data = clip_list(tmp_path / "val.txt", class_names=["jump", "run", "walk"])
    assert [record.labels for record in data.records] == [(2,), (1,)]


def test_numbers_of_classes_that_the_model_does_not_have(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    (tmp_path / "val.txt").write_text("a.mp4 1\n")
    with pytest.raises(DataError, match=r"val\.txt:1: label 1, 'run' is not a class"):
        clip_list(tmp_path / "val.txt", class_names=["jump", "walk"])
