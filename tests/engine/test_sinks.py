"""Where a run can be watched: numbers and pictures in TensorBoard, W&B and MLflow."""

import sys
import types
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.engine.test_run import RECIPE, run
from videozoo.data.motion import make_clips
from videozoo.engine.log import RunLog, read_log
from videozoo.errors import MissingPackageError
from videozoo.report.clips import draw_clips

PICTURE = Image.new("RGB", (4, 4), "red")


class Calls(list):
    def into(self, name, answer=None):
        def call(*args, **kwargs):
            self.append((name, args, kwargs))
            return answer

        return call


def test_tensorboard_shows_clips_and_confusion(tmp_path):
    make_clips(tmp_path / "world", num_train=8, num_val=4, size_px=32, num_classes=4)
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(world=tmp_path / "world"))
    run(tmp_path / "tiny.yaml", tmp_path / "run", "fit.tensorboard=true", "fit.duration=2st")
    events = EventAccumulator(str(tmp_path / "run" / "tb"))
    events.Reload()
    assert {"loss", "lr", "grad_norm", "clips_per_s", "data_wait_share", "val/top1"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"clips", "val/confusion"}
    assert [image.step for image in events.Images("val/confusion")] == [2]
    (clips,) = events.Images("clips")
    assert (clips.width, clips.height) == (4 * 35, 4 * (32 + 16 + 3))  # 4 frames of 4 clips


def test_wandb(tmp_path, monkeypatch):
    calls = Calls()
    wandb_run = types.SimpleNamespace(log=calls.into("log"), finish=calls.into("finish"))
    fake = types.SimpleNamespace(init=calls.into("init", wandb_run), Image=lambda image: ("image", image))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (0, 2):
        with closing(RunLog(tmp_path, step=step, sinks=["wandb"], record={"seed": 1})) as log:
            log.write(step + 1, {"loss": 0.5})
            log.picture(step + 1, "clips", lambda: PICTURE)
    assert [name for name, *_ in calls] == ["init", "log", "log", "finish"] * 2
    first, second = (kwargs for name, _, kwargs in calls if name == "init")
    assert first["id"] == second["id"] and (first["resume"], second["resume"]) == (None, "allow")
    assert first["config"] == {"seed": 1}
    assert calls[1] == ("log", ({"loss": 0.5},), {"step": 1})
    assert calls[2] == ("log", ({"clips": ("image", PICTURE)},), {"step": 1})


def test_mlflow(tmp_path, monkeypatch):
    calls = Calls()
    started = types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))
    names = ("log_dict", "log_metrics", "log_image", "end_run")
    fake = types.SimpleNamespace(start_run=calls.into("start_run", started), **{n: calls.into(n) for n in names})
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for step in (0, 2):
        with closing(RunLog(tmp_path, step=step, sinks=["mlflow"])) as log:
            log.write(step + 1, {"loss": 0.5})
            log.picture(step + 1, "clips", lambda: PICTURE)
    assert [kwargs["run_id"] for name, _, kwargs in calls if name == "start_run"] == [None, "abc"]
    assert ("log_metrics", ({"loss": 0.5},), {"step": 3}) in calls
    assert ("log_image", (PICTURE, "clips_00000003.png"), {}) in calls
    assert calls[-1][0] == "end_run"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_packages_that_are_not_there(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=rf"fit\.loggers: {name}: needs .* pip install 'videozoo\[{name}\]'"):
        RunLog(tmp_path, sinks=[name])


def test_no_picture_is_drawn_for_nobody(tmp_path):
    with closing(RunLog(tmp_path)) as log:
        log.write(1, {"loss": 1.0})
        log.picture(1, "clips", lambda: pytest.fail("drawn"))
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 1.0}]


def test_the_clips_of_a_batch():
    video = torch.zeros(2, 16, 3, 10, 12, dtype=torch.uint8)
    video[1, 2] = 200
    page = np.asarray(draw_clips({"video": video, "id": ["a", "ü"]}))
    assert page.shape == (2 * 29, 8 * 15, 3)  # every second frame
    assert (page[29 + 16 : 29 + 26, 15:27] == 200).all()
    assert draw_clips({"features": video}) is None and draw_clips({"video": video[0]}) is None
