"""Whatever a stranger's file holds, its reader answers with values or with one short line."""

import os
import socket
import zlib

import pytest
import yaml
from typing_extensions import TypedDict

from videozoo import structured
from videozoo.errors import ConfigError, DataError

DEEP = "[" * 100_000
LAUGHS = "\n".join(["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)])
MERGED = "\n".join(
    ["a0: &a0 {x0: 1}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
)


def refused(call, *, match):
    """Checks that `call` raises one short line."""
    with pytest.raises(DataError, match=match) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (DEEP, "f.json: is not JSON .it is nested too deeply"),
        ("[" * 900 + "]" * 900, "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ("[1,\n2", r"f\.json:2: is not JSON"),
        ("9" * 10**6, "a number of 1,000,000 digits"),
        ("-" + "9" * 100, "a number of 101 digits"),
        (b"\xff\xfe\xfd", "is not JSON"),
        (b"", "f.json:1: is not JSON"),
    ],
    ids=["brackets", "parsable-depth", "objects", "cut", "huge-number", "long-number", "not-text", "empty"],
)
def test_json(text, match):
    refused(lambda: structured.parse_json(text, where="f.json"), match=match)


def test_json_of_usual_depth_is_read():
    deep = "[" * 60 + "]" * 60
    assert structured.parse_json(deep, where="f") is not None
    assert structured.parse_json(b'\xef\xbb\xbf{"a": [1, -2, 3.5e3, null]}', where="f") == {"a": [1, -2, 3500.0, None]}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 20_000, "f.yaml: is not YAML .it is nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("seed: " + "9" * 10**5, "line 1 has a number of 100,000 digits"),
        ("x: 1\nseed: 1" + ":59" * 1000, "line 2 has a number"),
        ("when: !!timestamp x", "is not YAML"),
        ("b: !!bool x", "is not YAML"),
        ("b: !!int x", "is not YAML"),
        ("b: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("? [a]\n: b", "is not YAML"),
        (LAUGHS, "its aliases expand to more than 200,000 values"),
        (MERGED, "its aliases expand to more than 200,000 values"),
        ("a: &a [*a]", "its aliases expand to more"),
        ("a: 1\na: 2", "line 1: the key 'a' is given twice"),
        ("a: [", "is not YAML"),
        ("a: \x00", "is not YAML"),
        ("--- 1\n--- 2", "is not YAML"),
    ],
    ids=range(16),
)
def test_yaml(text, match):
    refused(lambda: structured.parse_yaml(text, where="f.yaml"), match=match)


def test_yaml_with_anchors_and_merges_is_read():
    text = "base: &b {x: 1, y: 2}\nown: {r: {s: &s {<<: *b, y: 3}}}\nmore: {<<: *s, y: 4}\nall: [*b, *b]"
    text += "\nbig: 0x1_0"
    assert structured.parse_yaml(text, where="f") == yaml.safe_load(text)
    assert structured.parse_yaml("", where="f") is None


def test_yaml_longer_than_any_recipe_is_not_parsed(tmp_path):
    (tmp_path / "f.yaml").write_text("a: 1\n" * 300_000)
    refused(lambda: structured.read_yaml(tmp_path / "f.yaml", kind="recipe"), match="longer than 1,048,576 bytes")


def special(folder, kind):
    path = folder / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
@pytest.mark.parametrize(
    "read", [structured.read_text, structured.read_json, structured.read_yaml, structured.read_rows]
)
def test_only_regular_files_are_opened(tmp_path, kind, read):
    path = special(tmp_path, kind)
    refused(lambda: read(path, kind="list"), match=f"{kind}: is a {kind}; give the path of a list")


@pytest.mark.parametrize(
    ("path", "match"), [("no/such", "there is no such file"), ("a\0b", "cannot be opened"), ("a" * 5000, "cannot be")]
)
def test_paths_that_lead_nowhere(path, match):
    with pytest.raises(DataError, match=match) as caught:
        structured.regular_file(path)
    assert len(str(caught.value)) < 600


def test_text_is_utf8_and_bounded(tmp_path):
    path = tmp_path / "f.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n# no\r\n\r\n two \xc3\xa4 \r\n")
    assert structured.read_lines(path) == [(f"{path}:1", "one"), (f"{path}:4", "two ä")]
    path.write_bytes(b"one\ntw\xff")
    refused(lambda: structured.read_lines(path), match=r"f\.txt:2: is not UTF-8 text .*; save the file as UTF-8")
    path.write_bytes(b"x" * 11)
    refused(lambda: structured.read_text(path, max_bytes=10), match="is longer than 10 bytes")


@pytest.mark.parametrize("day", ["2001-09-09", "2001-99-99", "2001-09-09 10:00:00"])
def test_a_date_in_yaml_is_text(day):
    assert structured.parse_yaml(f"path: {day}", where="f") == {"path": day}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "{stem_type:deep}",
            r"f: line 1: the key 'stem_type:deep' has no value; write 'stem_type: deep', with a space",
        ),
        ("model:\n  args: {a: 1, b:2}", r"f: line 2: the key 'b:2' has no value; write 'b: 2', with a space"),
        ("{stem_type}", r"the key 'stem_type' has no value; write 'stem_type: value', with a space after the colon"),
    ],
)
def test_a_key_in_braces_needs_its_value(text, match):
    refused(lambda: structured.parse_yaml(text, where="f"), match=match)


def test_keys_without_value_where_none_can_be_meant():
    text = "a:\nb: {c: null, d: ~, e: '', f: [], 'g:h': 1}"
    assert structured.parse_yaml(text, where="f") == yaml.safe_load(text)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_rows_between_other_delimiters(tmp_path, delimiter):
    (tmp_path / "f.csv").write_bytes(b"\xef\xbb\xbfid;label\r\na;run, fast\r\n".replace(b";", delimiter.encode()))
    assert structured.read_rows(tmp_path / "f.csv") == [(f"{tmp_path / 'f.csv'}:2", {"id": "a", "label": "run, fast"})]


def test_rows(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text('id, label,x\na,"1\n2",\n\nb\nc,d,e,,\n')
    rows = structured.read_rows(path, columns=("id", "label"))
    assert rows == [
        (f"{path}:3", {"id": "a", "label": "1\n2", "x": ""}),
        (f"{path}:5", {"id": "b", "label": "", "x": ""}),
        (f"{path}:6", {"id": "c", "label": "d", "x": "e"}),
    ]
    refused(lambda: structured.read_rows(path, columns=("id", "fps")), match="has no column 'fps', only .*; add fps")
    path.write_text("id\na,b\n")
    refused(lambda: structured.read_rows(path), match=r"f\.csv:2: has 2 cells for 1 columns")
    path.write_text("id\n" + "a" * 200_000)
    refused(
        lambda: structured.read_rows(path, kind="list"), match="field larger than field limit.*save the list as CSV"
    )


class Video(TypedDict):
    fps: float
    times: list[tuple[float, float]]


def test_checked_names_the_field_and_its_value():
    def check(value):
        return structured.checked(value, dict[str, Video], where="f.json", advice="needs fps and times")

    assert check({"a": {"fps": "25", "times": [[0, 1]]}}) == {"a": {"fps": 25.0, "times": [(0.0, 1.0)]}}
    refused(lambda: check({"a": {"times": []}}), match="f.json: a: fps: field required; needs fps and times")
    refused(lambda: check({"a": {"fps": 5, "times": 5}}), match="a: times: input should be a valid list, got 5; needs")
    refused(lambda: check({"a\n" * 999: 1}), match="a.na.n")
    refused(lambda: check({"a": {"fps": 10**5000, "times": []}}), match="a: fps: .*digits; needs")


class Unprintable:
    def __repr__(self):
        raise ValueError("no")


@pytest.mark.parametrize(
    "value",
    [
        10**10_000,
        "a\n\x1b[31m" * 10**5,
        b"\0" * 10**7,
        yaml.safe_load(LAUGHS),
        [["x" * 999] * 999] * 999,
        Unprintable(),
    ],
    ids=["number", "escapes", "bytes", "aliases", "nested", "unprintable"],
)
def test_shown_is_short(value):
    assert len(structured.shown(value)) <= 120
    assert structured.shown(value).isprintable()


def test_shown_is_repr_of_small_values():
    for value in (5, "x", [1, 2.5], {"a": None}, (1,), b"ab", -(2**63)):
        assert structured.shown(value) == repr(value)


@pytest.mark.parametrize(
    "problem", [KeyError("id"), RecursionError(), MemoryError(), zlib.error("a\nb\x1b"), OSError(28, "No")]
)
def test_reading_is_one_line_of_the_asked_class(problem):
    with (
        pytest.raises(ConfigError, match=r"^f: cannot be read \(.+\); fetch it$") as caught,
        structured.reading("f", advice="fetch it", error=ConfigError),
    ):
        raise problem
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is problem


def test_reading_lets_our_own_errors_pass():
    with pytest.raises(ConfigError, match=r"^ours$"), structured.reading("f", advice="fetch it"):
        raise ConfigError("ours")
