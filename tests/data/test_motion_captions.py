"""The made stories: two events of different motions, and sentences that say so."""

import json

import pytest

from videozoo.data.motion import CLASSES, Script, caption, make_captions
from videozoo.errors import ConfigError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories") / "world"
    make_captions(folder, num_train=3, num_val=1, size_px=32, length_s=4.0, fps=6)
    return folder


def test_every_video_has_a_sentence_for_all_of_it_and_for_each_event(world):
    scripts = {}
    for line in (world / "scripts.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        scripts[told["path"]] = Script.from_json(json.dumps(told["script"]))
    for split, count in (("train", 3), ("val", 1)):
        content = json.loads((world / f"{split}.json").read_text(encoding="utf-8"))
        assert len(content) == count
        for name, told in content.items():
            script = scripts[f"videos/{name}.mp4"]
            assert (world / f"videos/{name}.mp4").is_file()
            first, second = script.events
            assert {first.motion, second.motion} <= set(CLASSES) and first.motion != second.motion
            assert 0.85 * 4 - 0.1 <= script.duration_s == told["duration"] <= 1.15 * 4 + 0.1
            assert told["timestamps"] == [[0, script.duration_s], [0, first.end_s], [first.end_s, script.duration_s]]
            whole, one, other = told["sentences"]
            assert whole == caption(script) == f"{one}, then {other}"
            assert one.endswith(f"{first.colour} {first.shape} {first.motion}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length_s": 2.0}, r"synth captions: a length of 2.0 s leaves no room for two events; needs 3.53 s or more"),
        ({"num_classes": 1}, r"synth captions: num_classes is 1; a story has two motions, so give 2 or more"),
        ({"size_px": 7}, r"synth captions: size_px=7 is out of range"),
    ],
)
def test_arguments_that_cannot_be(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_captions(tmp_path / "world", **arguments)
