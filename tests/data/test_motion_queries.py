import json

import numpy as np
import pytest

from videozoo.data.motion import CLASSES, make_queries, query_spans, untrimmed_script
from videozoo.data.motion.script import Script
from videozoo.errors import ConfigError
from videozoo.sentences.tokens import tokenize
from videozoo.structured import read_lines


def means(event, sentence):
    """Whether an event is what a sentence tells of, read word by word."""
    said = set(tokenize(sentence)) - {"a", "an", "shape"}
    return said <= {event.colour, event.shape, *tokenize(event.motion)}


def test_every_sentence_means_its_event_and_no_other():
    kinds = {"whole": 0, "shorter": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        script = untrimmed_script(rng, motions=CLASSES[:3], num_frames=240, fps=12, size_px=32)
        for span in query_spans(script, rng):
            meant = [e for e in script.events if e.motion in CLASSES and means(e, span.label)]
            assert [(e.start_s, e.end_s) for e in meant] == [(span.start_s, span.end_s)]
            named = meant[0].colour in span.label and meant[0].shape in span.label
            kinds["whole" if named else "shorter"] += 1
    assert kinds["whole"] > kinds["shorter"] > 40


def test_the_world(tmp_path):
    out = tmp_path / "world"
    make_queries(out, num_train=1, num_val=1, size_px=16, length_s=12, fps=4)
    lines = [line for _, line in read_lines(out / "train.txt", kind="list of sentences")]
    (told, _) = [json.loads(line) for line in (out / "scripts.jsonl").read_text().splitlines()]
    script = Script.from_json(json.dumps(told["script"]))
    ends = {(f"{e.start_s:.3f}", f"{e.end_s:.3f}") for e in script.events if e.motion in CLASSES}
    for line in lines:
        head, sentence = line.split("##")
        video, *moment = head.split()
        assert video == "train_00000" and tuple(moment) in ends and sentence.endswith(".")
    assert lines and (out / told["path"]).is_file()


def test_too_short(tmp_path):
    with pytest.raises(ConfigError, match=r"synth queries: a length of 5 s leaves no room for events"):
        make_queries(tmp_path, length_s=5)
