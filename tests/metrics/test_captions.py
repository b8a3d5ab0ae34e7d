"""Caption metrics: BLEU against pycocoevalcap's, the dense protocol by hand, and METEOR with and without Java."""

import logging
import shutil

import numpy as np
import pytest

from videozoo.contracts.answer import Caption
from videozoo.errors import DataError
from videozoo.metrics import captions, meteor
from videozoo.metrics.captions import CaptionScores, Pair, bleu, caption_scores, dense_scores

PAIRS = [
    ("a man is playing a guitar", ["a man plays the guitar", "someone is playing a guitar on a stage"]),
    ("the the the dog", ["the dog runs in the park"]),
    ("a red ring grows", ["a red ring grows", "a ring of red"]),
    ("", ["nothing"]),
]


@pytest.fixture
def fresh(monkeypatch):
    """As on a machine where nothing was asked for yet; without Java unless a test brings it."""
    captions._optional.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    yield monkeypatch
    captions._optional.cache_clear()


def groups():
    return [[Pair(said, tuple(references)) for said, references in PAIRS], [Pair("a b", ("a b c d e",))]]


def test_bleu_by_hand():
    (scores,) = bleu([[Pair("the the the cat", ("the cat sat",))]])
    assert scores["bleu1"] == pytest.approx(2 / 4)  # one `the` counts, and `cat`; no brevity penalty
    (scores,) = bleu([[Pair("the cat", ("the cat sat down",))]])
    assert scores["bleu2"] == pytest.approx(2.718281828 ** (1 - 4 / 2))


def test_bleu_is_that_of_pycocoevalcap():
    theirs = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    for group, ours in zip(groups(), bleu(groups()), strict=True):
        said = {i: [pair.caption] for i, pair in enumerate(group)}
        references = {i: list(pair.references) for i, pair in enumerate(group)}
        expected, _ = theirs.compute_score(references, said, verbose=0)
        assert [ours[f"bleu{n}"] for n in range(1, 5)] == pytest.approx(expected, rel=1e-9)


def test_without_java_the_others_are_reported_and_it_is_said(fresh, caplog):
    pytest.importorskip("pycocoevalcap")
    with caplog.at_level(logging.WARNING):
        scores = caption_scores(PAIRS)
        caption_scores(PAIRS)
    assert set(scores) == {"bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "exact"}
    assert scores["exact"] == 25.0
    (line,) = caplog.messages
    assert line.startswith("captions: METEOR is skipped, the other scores are reported; it needs a Java runtime")


def test_a_java_that_only_says_where_to_get_one_is_none(tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert meteor.problem().startswith("it needs a Java runtime, and 'java -version' ends with status 1; install one")
    java.write_text("#!/bin/sh\nexit 0\n")
    assert meteor.problem() is None


def test_without_pycocoevalcap_bleu_is_reported(fresh, caplog):
    fresh.setitem(__import__("sys").modules, "pycocoevalcap.rouge.rouge", None)
    with caplog.at_level(logging.WARNING):
        assert set(caption_scores(PAIRS)) == {"bleu1", "bleu2", "bleu3", "bleu4", "exact"}
    assert "only BLEU is reported" in caplog.text and "pip install 'videozoo[language]'" in caplog.text


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs a Java runtime")
@pytest.mark.long
def test_meteor():
    pytest.importorskip("pycocoevalcap")
    same, other, both = meteor.meteor(
        [
            [("a red ring grows", ["a red ring grows"])],
            [("a red ring grows", ["two dogs bark loudly"])],
            [("a man plays a guitar", ["someone is playing the guitar", "a man plays"]), ("a b", ["a b"])],
        ]
    )
    assert same == 1.0 and other == 0.0 and 0.2 < both < 1.0


@pytest.mark.parametrize("script", ["exit 1", "echo EVAL", "sleep 60"])
def test_a_meteor_program_that_fails(tmp_path, monkeypatch, script):
    pytest.importorskip("pycocoevalcap")
    java = tmp_path / "java"
    java.write_text(
        f"#!/bin/sh\nread line\nexec 2>&-\n{script}\n" if script != "sleep 60" else "#!/bin/sh\nexec sleep 60\n"
    )
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(meteor, "START_S", 0.5)
    with pytest.raises(DataError, match="METEOR: its Java program"):
        meteor.meteor([[("a", ["a"]), ("b", ["b"])]])


def test_the_dense_protocol_by_hand(fresh):
    truth = [("v", (0, 10), "a b c d"), ("v", (0, 6), "e f g h"), ("w", (0, 4), "i j k l")]
    said = [("v", (0, 10), "a b c d"), ("w", (2, 4), "i j k l"), ("x", (0, 1), "what")]
    scores = dense_scores(said, truth, ious=(0.5, 0.9))
    # at 0.5, v is held against both of its segments (half right) and w is right; at 0.9, v is right and w has nothing
    assert scores["bleu1"] == pytest.approx(100 * (0.5 + 1 + 1 + 0) / 4, abs=1e-4)


def test_a_video_of_which_nothing_is_said_scores_nothing(fresh):
    scores = dense_scores([("v", (0, 1), "a b c d")], [("v", (0, 1), "a b c d"), ("w", (0, 1), "e")], ious=(0.5,))
    assert scores["bleu4"] == pytest.approx(50.0, abs=1e-4)


def batch(*rows):
    ids, videos, segments, references = zip(*rows, strict=True)
    return {"id": list(ids), "video": list(videos), "segment": list(segments), "references": list(references)}


ROWS = [
    ("v#1", "v", (0.0, 5.0), ("a red ring grows fast",)),
    ("v#2", "v", (5.0, 9.0), ("a blue ring shrinks fast",)),
    ("w#1", "w", (0.0, 5.0), ("a cross turns left here",)),
]
SAID = [Caption("A red ring grows fast."), Caption("a blue cross shrinks fast"), Caption("a ring")]


def test_two_halves_are_one_whole(fresh):
    whole, left, right = (CaptionScores(dense_ious=(0.3, 0.9)) for _ in range(3))
    whole.update(SAID, batch(*ROWS))
    left.update(SAID[2:], batch(*ROWS[2:]))
    right.update(SAID[:2], batch(*ROWS[:2]))
    left.merge(right)
    scores = whole.compute()
    assert left.compute() == scores
    assert scores["exact"] == pytest.approx(100 / 3) and 0 < scores["dense_bleu4"] < 100
    (table,) = whole.report_parts()
    assert table.rows[0] == ("v#1", "A red ring grows fast.", "a red ring grows fast", 1)


def test_samples_that_cannot_be_scored():
    metric = CaptionScores()
    with pytest.raises(DataError, match="captions: no sample was scored"):
        metric.compute()
    with pytest.raises(DataError, match="v#1: has no reference caption"):
        metric.update(SAID[:1], batch(("v#1", "v", None, ())))
    metric.update(SAID[:1], batch(ROWS[0]))
    with pytest.raises(DataError, match="v#1: was scored twice"):
        metric.update(SAID[:1], batch(ROWS[0]))


def test_every_score_has_an_interval_by_video(fresh):
    rng, words = (
        np.random.default_rng(0),
        ["a", "red", "ring", "grows", "fast", "left", "here", "blue", "cross", "turns"],
    )
    metric, grouped = CaptionScores(dense_ious=(0.3, 0.9)), CaptionScores(dense_ious=(0.3, 0.9))
    for i in range(24):
        true = " ".join(rng.permutation(words)[:6])
        said = Caption(true if i % 3 else " ".join(rng.permutation(words)[:6]))
        one = batch((f"v{i}#1", f"v{i}", (0.0, 5.0), (true,)))
        metric.update([said], one)
        grouped.update([said], {**one, "group": [f"r{i // 6}"]})
    scores, intervals = metric.compute(), {i.score: i for i in metric.intervals()}
    assert set(intervals) == set(scores) > {"bleu4", "exact", "dense_bleu4"}
    assert all(intervals[name].low <= score <= intervals[name].high for name, score in scores.items())
    assert intervals["exact"].low < intervals["exact"].high
    assert {i.score for i in grouped.intervals()} == set(scores)
    assert grouped.compute() == scores
