"""A session as a server calls it: one video, many sources of both kinds, files, failures, damage; nothing printed."""

import json

import numpy as np
import pytest

from tests.io.test_damage import spoiled
from tests.predict.conftest import NAMES, SPEC, FindGrey, GreyMeter, NameGrey
from tests.predict.test_feature_shards import shard, tagger  # noqa: F401 (fixtures)
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.decode import probe
from videozoo.loading import load
from videozoo.predict.predictor import Predictor
from videozoo.predict.products import Wanted
from videozoo.predict.session import Plan, Request, Session
from videozoo.predict.sources import Sources, find_sources
from videozoo.tasks.network import torch_network


@pytest.fixture
def namer():
    return Predictor(torch_network(NameGrey(GreyMeter(), NAMES), SPEC, device="cpu"))


@pytest.fixture
def finds():
    return Predictor(torch_network(FindGrey(GreyMeter(), NAMES), SPEC, device="cpu"))


class Kept:
    problem = None

    def __init__(self):
        self.answers, self.is_closed = [], False

    def add(self, answered):
        self.answers.append(answered)

    def close(self):
        self.is_closed = True


def test_one_video(namer, finds, grey_video):
    video = grey_video("a.mp4", [1, 0, 3, 3])
    prediction = Session(namer, Request(window_s=1.0, stride_s=1.0)).answer(video)
    assert [window.labels.best for window in prediction.windows] == ["dim", "dark", "bright", "bright"]
    over = Session(namer, Request(min_score=0.5), finder=finds).answer(video)
    assert [(window.found.label, window.labels.best) for window in over.windows] == [("dim", "dim")]
    with pytest.raises(DecodeError, match=r"gone\.mp4: there is no such file"):
        Session(namer, Request()).answer(video.parent / "gone.mp4")


def test_many_videos_with_files_failures_and_damage(namer, grey_video, tmp_path, capsys):
    folder = grey_video("v/a.mp4", [3]).parent
    (folder / "b.mp4").write_text("no video")
    spoiled(folder / "c.mkv", "libx264")
    kept, begun, heard = Kept(), [], []

    def begin(video):
        begun.append(video.name)
        return lambda done, total: heard.append((done, total))

    request = Request(window_s=1.0, stride_s=1.0)
    wanted = Wanted(out=tmp_path / "o.json", plot=tmp_path / "p", render=tmp_path / "r")
    session = Session(namer, request)
    plan = Plan.of("run", find_sources([folder]), request, wanted)
    session.run(plan, sinks=[kept], progress=begin)
    assert begun == ["a.mp4", "b.mp4", "c.mkv"] and heard[0] == (1, 1) and heard[-1] == (3, 3)
    assert len(kept.answers) == 2 and kept.answers[0].labels.best == "bright" and kept.is_closed
    assert list(plan.answers.failed) == [str(folder / "b.mp4")]
    assert list(session.damaged) == [str(folder / "c.mkv")] and 1 <= session.damaged[str(folder / "c.mkv")] <= 3
    assert len(json.loads((tmp_path / "o.json").read_text())["predictions"]) == 2
    made = [(made.verb, path.name) for made in session.made for path in made.paths]
    assert made == [("rendered", "a.mp4"), ("plotted", "a.png"), ("rendered", "c.mp4"), ("plotted", "c.png")]
    assert probe(tmp_path / "r" / "a.mp4").num_frames == 10 and session.unwritten == []
    assert capsys.readouterr() == ("", "")


def test_a_product_that_cannot_be_written_costs_no_answer(namer, grey_video, tmp_path):
    video = grey_video("a.mp4", [3])
    kept, session = Kept(), Session(namer, Request())
    plan = Plan.of("run", Sources((video,)), Request(), Wanted(plot=tmp_path / "p.png"))
    (tmp_path / "p.png").mkdir()
    session.run(plan, sinks=[kept])
    assert len(kept.answers) == 1 and plan.answers.failed == {}
    assert len(session.unwritten) == 1 and "p.png" in session.unwritten[0]


def test_shards_are_sources_like_others(tagger, shard, grey_video, tmp_path):  # noqa: F811
    video = grey_video("a.mp4", [3])
    sources = find_sources([video, shard, shard.parent])
    assert sources.videos == (video,) and [len(each) for each in sources.shards] == [2, 2]
    kept, request = Kept(), Request(top=1)
    session = Session(load(tagger, device="cpu"), request)
    gone = tmp_path / "gone.npz"
    plan = Plan.of("run", Sources((gone,), sources.shards), request, Wanted(out=tmp_path / "o.json"))
    session.run(plan, sinks=[kept])
    assert [(a.id, a.labels.best) for a in kept.answers] == [("up", "high"), ("down", "low")] * 2
    assert list(plan.answers.failed) == [str(gone)]
    found = json.loads((tmp_path / "o.json").read_text())
    assert [p["id"] for p in found["predictions"]] == ["up", "down"] * 2 and len(found["failed"]) == 1


def test_the_file_of_records_appears_also_where_an_error_ends_them(tagger, shard, tmp_path):  # noqa: F811
    class Stops(Kept):
        def add(self, answered):
            super().add(answered)
            if len(self.answers) == 2:
                raise RuntimeError("of the caller")

    plan = Plan.of("run", find_sources([shard]), Request(), Wanted(out=tmp_path / "o.csv"))
    with pytest.raises(RuntimeError, match="of the caller"):
        Session(load(tagger, device="cpu"), Request()).run(plan, sinks=[Stops()])
    assert [line.split(",")[0] for line in (tmp_path / "o.csv").read_text().splitlines()] == ["VideoId", "up"]


def test_plans_are_checked_before_the_work(grey_video, shard, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("x")
    videos = Sources((grey_video("a.mp4", [0]),))
    with pytest.raises(ConfigError, match=r"r\.mp4: cannot be written, .*file is a file"):
        Plan.of("run", videos, Request(), Wanted(render=tmp_path / "file" / "r.mp4"))
    with pytest.raises(ConfigError, match=r"--fps: needs videos, but .*a\.tfrecord holds features;"):
        Plan.of("run", find_sources([shard]), Request(fps=25.0), Wanted())
    with pytest.raises(ConfigError, match=r"--features: needs videos"):
        Plan.of("run", find_sources([shard]), Request(), Wanted(), from_features=True)


def test_features_without_a_network_for_them(namer, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(ConfigError, match=r"--features: the run takes videos, not features such as .*; leave it out"):
        Session(namer, Request(), features=tmp_path)
