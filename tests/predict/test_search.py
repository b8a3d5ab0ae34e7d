"""Search over videos that show a grey each second: which grey is where is known."""

import dataclasses
import functools
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from tests.io.test_damage import spoiled
from tests.predict.conftest import NAMES
from videozoo.cli import main as command_line
from videozoo.cli.index import index as index_command
from videozoo.cli.search import PRINTED
from videozoo.cli.search import search as search_command
from videozoo.errors import ConfigError, DataError, MissingPackageError, WeightsError
from videozoo.io import isolation
from videozoo.io.decode import probe
from videozoo.io.features import write_features
from videozoo.io.isolation import Journal
from videozoo.loading import load_extractor, load_searcher
from videozoo.predict.extractor import Extractor
from videozoo.predict.index import RunMark, VideoIndex
from videozoo.sentences.vocabulary import vocabulary
from videozoo.tasks.build import build_task
from videozoo.weights import checkpoint

pytest.importorskip("pyarrow")

SENTENCES = [f"it is {name}" for name in NAMES]
WORDS = vocabulary(SENTENCES)
RECORD = {
    "model": {"name": "tall", "feature_dim": 4, "sentence_dim": 16, "embed_dim": 16, "hidden_dim": 16, "init_std": 0.1},
    "task": {"name": "ground", "encoder": {"name": "bag_of_words", "dim": 16}},
    "input": {"name": "moments", "window_s": [1.0, 2.0], "overlap": 0.5, "context_s": 1.0, "feature_dim": 4},
}


@functools.lru_cache
def trained(seed):
    """The weights of a model that has seen windows of one grey among others."""
    torch.manual_seed(seed)
    task = build_task(RECORD, WORDS)
    optimizer = torch.optim.Adam(task.parameters(), 0.02)
    rng = np.random.default_rng(seed)
    for _ in range(80):
        greys = rng.permutation(4)
        around = np.eye(4)[rng.integers(4, size=(2, 4))]
        rows = np.concatenate([around[0], np.eye(4)[greys], around[1]], axis=1)
        times = torch.tensor([[0.0, 1.0]] * 4, dtype=torch.float64)
        batch = {"windows": torch.tensor(rows, dtype=torch.float32), "window": times, "moment": times}
        optimizer.zero_grad()
        task({**batch, "sentence": [SENTENCES[k] for k in greys], "video": list("abcd")})["loss"].backward()
        optimizer.step()
    return task.model.state_dict()


@pytest.fixture
def write_run(run, tmp_path):
    def write(name="tall", seed=0):
        extractor = load_extractor(run, window_s=1.0, stride_s=0.5, output="scores", device="cpu")
        content = {
            "record": {**RECORD, "features": extractor.recipe.to_dict()},
            "class_names": WORDS,
            "model": trained(seed),
            "step": 1,
            "extractor": checkpoint.extractor_payload(checkpoint.read(run)),
        }
        checkpoint.write(tmp_path / name / "best.pt", content)
        return tmp_path / name

    return write


@pytest.fixture
def searcher(write_run):
    return load_searcher(write_run(), device="cpu")


def looked(searcher, *videos):
    return VideoIndex(searcher.run, tuple(searcher.look(video) for video in videos))


# ---- asking ----


def test_the_moment_is_found_in_the_right_video(searcher, grey_video):
    index = looked(searcher, grey_video("a.mp4", [0, 0, 1, 0]), grey_video("b.mp4", [3, 0, 0, 2]))
    for sentence, video, start_s in (("it is dim", "a.mp4", 2), ("Bright!", "b.mp4", 0), ("it is light", "b.mp4", 3)):
        best = searcher.ask(index, sentence, top=1)[0]
        assert best.video.endswith(video) and best.start_s <= start_s + 0.6 and best.end_s >= start_s + 0.4, best
        assert 0.2 < best.score < 1 and best.query == sentence


def test_answers_are_best_first_and_apart(searcher, grey_video):
    index = looked(searcher, grey_video("a.mp4", [0, 1, 2, 3, 1, 0]))
    hits = searcher.ask(index, "it is dim", top=6)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True) and len(hits) > 2
    for i, a in enumerate(hits):
        for b in hits[:i]:
            shared = max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
            assert shared <= 0.45 * (a.end_s - a.start_s + b.end_s - b.start_s - shared) + 1e-9


def test_an_index_answers_as_before_it_was_written(searcher, grey_video, tmp_path):
    index = looked(searcher, grey_video("a.mp4", [0, 1]), grey_video("b.mp4", [2, 3, 3]))
    index.write(tmp_path / "i.parquet")
    again = VideoIndex.read(tmp_path / "i.parquet")
    assert again.run == index.run and len(again) == len(index)
    assert [dataclasses.replace(v, times_s=0, embedded=0) for v in again.videos] == [
        dataclasses.replace(v, times_s=0, embedded=0) for v in index.videos
    ]
    assert searcher.ask(again, "it is light") == searcher.ask(index, "it is light")


def test_an_index_keeps_names_that_are_not_utf8(searcher, grey_video, tmp_path):
    plain = grey_video("plain.mp4", [1, 2])
    video = plain.rename(plain.with_name(os.fsdecode(b"bad\xff.mp4")))
    looked(searcher, video, grey_video("b.mp4", [3])).write(tmp_path / "a.parquet")
    found = VideoIndex.read(tmp_path / "a.parquet")
    assert [Path(one.path).name for one in found.videos] == [video.name, "b.mp4"]
    assert [one.state() for one in found.videos] == ["same", "same"]


def test_many_windows_go_in_chunks(searcher, grey_video, monkeypatch):
    index = looked(searcher, grey_video("a.mp4", [0, 1, 2, 3]))
    want = searcher.ask(index, "it is dark")
    monkeypatch.setattr("videozoo.predict.search.CHUNK", 2)
    for hit, other in zip(searcher.ask(index, "it is dark"), want, strict=True):
        assert dataclasses.astuple(hit)[1:4] == pytest.approx(dataclasses.astuple(other)[1:4], abs=1e-5)


def test_nothing_to_search(searcher, tmp_path):
    empty = VideoIndex(searcher.run)
    assert searcher.ask(empty, "it is dim") == []
    empty.write(tmp_path / "i.parquet")
    assert VideoIndex.read(tmp_path / "i.parquet").videos == ()


def test_bad_questions(searcher, grey_video):
    index = looked(searcher, grey_video("a.mp4", [0]))
    with pytest.raises(DataError, match="query: is empty"):
        searcher.ask(index, " ")
    with pytest.raises(DataError, match="query: no word of 'zebra' was in the training sentences"):
        searcher.ask(index, "zebra")
    with pytest.raises(ConfigError, match="top: got 0"):
        searcher.ask(index, "it is dim", top=0)
    other = dataclasses.replace(index, run=RunMark("elsewhere/best.pt", "f" * 64))
    with pytest.raises(
        DataError, match=r"index: is the index of elsewhere/best\.pt \(weights ffffffff\), not of .*tall"
    ):
        searcher.ask(other, "it is dim")


def test_a_run_that_takes_no_query(run):
    with pytest.raises(ConfigError, match="is a run of 'namegrey', which takes no query; train one of `ground`"):
        load_searcher(run, device="cpu")


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"x" * 99])
def test_a_damaged_index(content, tmp_path):
    (tmp_path / "i.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"i\.parquet: cannot be read \(.*\); make it again with `videozoo index`"):
        VideoIndex.read(tmp_path / "i.parquet")


def test_some_other_parquet_file(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "i.parquet")
    with pytest.raises(DataError, match=r"i\.parquet: is a parquet file, but not an index of videos"):
        VideoIndex.read(tmp_path / "i.parquet")


# ---- the commands ----

app = typer.Typer()
app.command("index")(index_command)
app.command("search")(search_command)


def call(*words):
    found = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*map(str, words), "--device", "cpu"], catch_exceptions=False)
    return found


def test_an_index_grows_and_notices_what_changes(write_run, grey_video, tmp_path):
    run, out = write_run(), tmp_path / "i.parquet"
    a, b = grey_video("v/a.mp4", [0]), grey_video("v/b.mp4", [1])
    assert "2 videos, 2 windows (2 added)" in call("index", tmp_path / "v", "--run", run, "--out", out).stdout
    assert "(nothing new)" in call("index", tmp_path / "v", "--run", run, "--out", out).stdout
    grey_video("v/c.mp4", [2])
    grey_video("v/b.mp4", [3])
    os.utime(b, (1, 1))
    a.unlink()
    told = call("index", tmp_path / "v", "--run", run, "--out", out).stdout
    assert "2 videos, 2 windows (1 added, 1 had changed, 1 gone, taken out)" in told
    hits = json.loads(call("search", out, "it is bright", "--top", "1", "--json").stdout)["hits"]
    assert hits[0]["video"] == str(b.resolve()) and hits[0]["score"] > 0.5


def test_features_that_are_there_are_not_made_again(write_run, grey_video, tmp_path, monkeypatch):
    run, video = write_run(), grey_video("a.mp4", [0, 1, 2])
    want = looked(load_searcher(run, device="cpu"), video).videos[0]
    features = load_searcher(run, device="cpu").predictor.features(video).features
    write_features(tmp_path / "features", "a", features)
    monkeypatch.setattr(Extractor, "__call__", None)
    call("index", video, "--run", run, "--out", tmp_path / "i.parquet", "--features", tmp_path / "features")
    (found,) = VideoIndex.read(tmp_path / "i.parquet").videos
    assert found.path == want.path and found.state() == "same"
    np.testing.assert_allclose(found.embedded, want.embedded, atol=1e-6)


def test_a_broken_video_does_not_keep_the_others_out(write_run, grey_video, tmp_path):
    good, bad = grey_video("a.mp4", [0]), tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    found = call("index", good, bad, "--run", write_run(), "--out", tmp_path / "i.parquet")
    assert found.exit_code == 1 and "1 of 2 videos failed" in found.stderr and "bad.mp4" in found.stderr
    assert len(VideoIndex.read(tmp_path / "i.parquet").videos) == 1


def test_search_by_a_run_cuts_the_moments_out(write_run, grey_video, tmp_path):
    videos = [grey_video("a.mp4", [0, 0, 1, 0]), grey_video("b.mp4", [3, 3])]
    found = call("search", write_run(), "it is dim", *videos, "--top", "1", "--cut", tmp_path / "cut", "--json")
    answers = json.loads(found.stdout)
    assert answers["videos"] == 2 and answers["query"] == "it is dim" and answers["failed"] == []
    (hit,), (clip,) = answers["hits"], answers["clips"]
    assert re.search(r"cut/01-a-001-it_is_dim\.mp4$", clip)
    assert probe(clip).duration_s == pytest.approx(hit["end_s"] - hit["start_s"], abs=0.15)


def test_a_table_for_people(write_run, grey_video):
    found = call("search", write_run(), "it is really bright", grey_video("a.mp4", [3]))
    assert re.search(r"a\.mp4 +\d\.\d\d s +\d\.\d\d s +\d+\.\d%", found.stdout)
    assert "no training sentence had: really; what is meant by them is a guess" in found.stderr


def test_search_in_some_of_the_indexed(write_run, grey_video, tmp_path):
    a, b, c = (grey_video(name, [1]) for name in ("a.mp4", "b.mp4", "c.mp4"))
    call("index", a, b, "--run", write_run(), "--out", tmp_path / "i.parquet")
    found = json.loads(call("search", tmp_path / "i.parquet", "it is dim", b, "--json").stdout)
    assert {hit["video"] for hit in found["hits"]} == {str(b.resolve())}
    with pytest.raises(DataError, match=r"c\.mp4 is not in it \(1 of 2 videos are not\); add them by `videozoo index`"):
        call("search", tmp_path / "i.parquet", "it is dim", b, c)
    b.unlink()
    found = call("search", tmp_path / "i.parquet", "it is dim")
    assert "1 of 2 videos are gone, and left out (first " in found.stderr and "b.mp4" not in found.stdout


def test_an_index_of_another_run(write_run, grey_video, tmp_path):
    first, second, out = write_run(), write_run("other", seed=1), tmp_path / "i.parquet"
    video = grey_video("a.mp4", [1])
    call("index", video, "--run", first, "--out", out)
    message = (
        r"i\.parquet: is the index of .*tall/best\.pt \(weights \w{8}\), not of .*other/best\.pt \(weights \w{8}\)"
    )
    with pytest.raises(DataError, match=message):
        call("index", video, "--run", second, "--out", out)
    with pytest.raises(DataError, match=message):
        call("search", out, "it is dim", "--run", second)
    first.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"which does not exist; give its place with --run"):
        call("search", out, "it is dim")
    assert call("search", out, "it is dim", "--run", tmp_path / "moved").exit_code == 0


def test_a_missing_package_is_said_before_any_video_is_looked_at(write_run, grey_video, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("videozoo.loading.load_searcher", lambda *args, **kwargs: pytest.fail("it looked"))
    with pytest.raises(MissingPackageError, match="index of videos: needs the package 'pyarrow'"):
        call("index", grey_video("a.mp4", [1]), "--run", write_run(), "--out", tmp_path / "i.parquet")


@pytest.mark.parametrize(
    "words, error, message",
    [
        (("search", "i.parquet", " "), DataError, "query: is empty; say what to look for"),
        (("search", "i.parquet", "it is dim"), DataError, r"i\.parquet: there is no such index; make one: `videozoo"),
        (("search", "nothing", "it is dim"), WeightsError, "nothing: there is no such file or run directory"),
        (("search", "RUN", "it is dim"), ConfigError, "is a run; name the videos to look at, or an index"),
        (("search", "RUN", "it is dim", "--run", "RUN"), ConfigError, "is a run already; give an index"),
        (
            ("index", "a.mp4", "--run", "RUN", "--out", "i.npz"),
            ConfigError,
            r"i\.npz: an index is a parquet file or a folder",
        ),
    ],
)
def test_bad_commands(write_run, words, error, message):
    run = write_run()
    with pytest.raises(error, match=message):
        call(*(run if word == "RUN" else word for word in words))


def test_a_crash_costs_the_video_that_was_looked_at(write_run, grey_video, tmp_path, monkeypatch):
    run, good, bad = write_run(), grey_video("v/a.mp4", [2]), grey_video("v/b.mp4", [2])
    before = Journal()
    before._crashed[str(bad)] = "it crashed the decoder (signal 6, SIGABRT)"
    monkeypatch.setattr(isolation, "_journal", before)
    assert "search" in command_line._SUPERVISED
    found = call("search", run, "it is light", tmp_path / "v", "--json", "--cut", tmp_path / "cut")
    assert found.exit_code == 1 and "b.mp4: it crashed the decoder (signal 6, SIGABRT)" in found.stderr
    answers = json.loads(found.stdout)
    assert [Path(hit["video"]).name for hit in answers["hits"]] == ["a.mp4"] and len(answers["clips"]) == 1

    later = Journal()  # of a process that went on after one that crashed while it cut
    later._crashed[str(good.resolve())] = "it crashed the decoder (signal 6, SIGABRT)"
    later.results = {str(good): load_searcher(run, device="cpu").look(good), PRINTED: True}
    monkeypatch.setattr(isolation, "_journal", later)
    found = call("search", run, "it is light", good, "--cut", tmp_path / "cut")
    assert found.exit_code == 1 and "a.mp4: it crashed the decoder" in found.stderr
    assert "probability" not in found.stdout  # it is printed


def test_damage_that_the_decoder_conceals_is_named(write_run, grey_video, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOZOO_STRICT", "")  # set by --strict, and put back after the test
    run, healthy, damaged = write_run(), grey_video("a.mp4", [1]), spoiled(tmp_path / "bad.mkv", "libx264")
    words = (healthy, damaged, "--run", run)
    found = call("index", *words, "--out", tmp_path / "i.parquet")
    assert found.exit_code == 0
    assert "damage concealed by the decoder (--strict makes it an error):" in found.stderr
    assert re.search(r"bad\.mkv: [1-3] frames?$", found.stderr.strip()) and "a.mp4: " not in found.stderr
    assert "bad.mkv: " in call("search", run, "it is light", damaged, healthy).stderr
    found = call("index", *words, "--out", tmp_path / "j.parquet", "--strict")
    assert found.exit_code == 1 and "1 of 2 videos failed" in found.stderr
