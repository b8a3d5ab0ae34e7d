"""A kind of answer from outside of the package goes through all commands: boxes on frames, see `outside_parts.py`."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import videozoo
from videozoo.cli.main import app
from videozoo.errors import WeightsError
from videozoo.io.decode import open_video, probe
from videozoo.io.encode import write_video
from videozoo.predict.draw import PALETTE

MODULE = "own_kit.boxes"
SIZE = (96, 128)  # height and width of the videos; rendering enlarges them
NUM_FRAMES = 20
FPS = 10
RECIPE = {
    "uses": [MODULE],
    "model": {"name": "two_boxes"},
    "task": {"name": "follow"},
    "input": {"name": "grey_frames", "num_frames": 4},
    "optim": {"name": "adam", "lr": 0.003},
    "fit": {"duration": "60st", "batch_size": 4, "num_workers": 1, "tensorboard": False, "eval_every": "60st"},
}
START = "import sys; del sys.path[0]; from videozoo.cli.main import main; main()"  # as the installed command
MANY = """
import json, sys; del sys.path[0]
from typer.testing import CliRunner
from videozoo.cli.main import app
import videozoo
from videozoo.decoding.registry import build_decoder
found = {}
for name, args in json.loads(sys.argv[1]).items():
    if name == "decoder":
        decoder = videozoo.load("run", device="cpu", allow_code=["own_kit.boxes"]).network.decoder
        assert build_decoder(decoder.to_dict(), decoder.class_names) == decoder
        found[name] = decoder.to_dict()
        continue
    ran = CliRunner().invoke(app, args)
    if ran.exit_code:
        raise ran.exception
    found[name] = ran.output
print(json.dumps(found))
"""


def environment():
    """The package comes from PYTHONPATH; nothing else does."""
    return {**os.environ, "PYTHONPATH": str(Path(videozoo.__file__).parents[1]), "CUDA_VISIBLE_DEVICES": ""}


def done(*args, cwd):
    """The output of the command line in a folder."""
    command = [sys.executable, "-c", START, *map(str, args)]
    ran = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def draw_video(path, seed):
    """Writes a video of a bright and a dim square that move; gives their boxes at four times, in shares."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    frames, truth = np.zeros((NUM_FRAMES, height, width, 3), np.uint8), []
    starts, ends = rng.uniform(0, 0.7, (2, 2)), rng.uniform(0, 0.7, (2, 2))
    for index in range(NUM_FRAMES):
        corners = starts + (ends - starts) * index / NUM_FRAMES
        boxes = [[x, y, x + 0.3, y + 0.3] for x, y in corners.tolist()]
        for (left, top, right, bottom), grey in zip(boxes, (110, 250), strict=True):
            area = np.s_[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
            frames[index][area] = grey
        if index % 5 == 2:
            truth.append(boxes)
    write_video(path, frames, fps=FPS)
    return truth


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a package of one's own, made videos, and a run that was trained by the command line."""
    root = tmp_path_factory.mktemp("outside")
    (root / "own_kit").mkdir()
    (root / "own_kit" / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("outside_parts.py"), root / "own_kit" / "boxes.py")
    rows = [
        {"video": f"{seed}.mp4", "boxes": draw_video(root / f"{seed}.mp4", seed), "labels": [0, 1]} for seed in range(8)
    ]
    (root / "boxes.json").write_text(json.dumps({"classes": ["dim", "bright"], "videos": rows}))
    data = {"name": "box_file", "path": str(root / "boxes.json")}
    (root / "follow.yaml").write_text(yaml.safe_dump({**RECIPE, "data": {"train": data, "val": data}}))
    elsewhere = root / "elsewhere"  # the module is found beside the recipe
    elsewhere.mkdir()
    done("train", root / "follow.yaml", "--out", root / "run", cwd=elsewhere)
    return root


def answer_of(work):
    (found,) = json.loads((work / "x.json").read_text())["predictions"]
    return found


@pytest.fixture(scope="module")
def predicted(work):
    """The output of one `videozoo predict` with a JSON file, a timeline and a rendered video."""
    files = ("--json", "--out", "x.json", "--plot", "x.png", "--render", "x.mp4")
    return done("predict", "run", "0.mp4", *files, "--allow-code", MODULE, cwd=work)


def test_the_record_names_the_module_and_training_learns(work):
    record = yaml.safe_load((work / "run" / "recipe.yaml").read_text())
    assert record["uses"] == [MODULE]
    log = [json.loads(line) for line in (work / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]


def test_evaluation_reports_the_metric(work):
    found = json.loads(done("eval", "run", "--allow-code", MODULE, "--json", cwd=work))
    assert found["num_scored"] == 8
    assert 0 < found["scores"]["mean_iou"] <= 100
    assert "toy boxes were scored" in found["notes"]
    report = (work / "run" / "eval" / "val" / "report.html").read_text()
    assert "Boxes by their overlap" in report and "mean_iou" in report


def test_json_holds_the_boxes(work, predicted):
    assert json.loads(predicted)["predictions"] == [answer_of(work)]
    frames = answer_of(work)["boxes"]
    assert [frame["time_s"] for frame in frames] == [0.25, 0.75, 1.25, 1.75]
    assert [[box["track"] for box in frame["boxes"]] for frame in frames] == [[1, 2]] * 4


def test_the_timeline_has_a_lane_for_each_track(work, predicted):
    with Image.open(work / "x.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    dark = np.abs(pixels - np.array(PALETTE[0])).max(-1) < 40
    rows = dark[200:, 500:1400].mean(1) > 0.2  # below the strip; the highest score is drawn darkest
    assert 1 <= np.count_nonzero(np.diff(rows.astype(int)) == 1) <= 2


def test_boxes_are_drawn_where_they_are(work, predicted):
    info = probe(work / "x.mp4")
    scale = np.tile([info.width_px / SIZE[1], info.height_px / SIZE[0]], 2)
    with open_video(work / "x.mp4") as reader:
        picture = np.asarray(reader.frames_at([0.8]).data)[0].astype(int)
    (frame,) = [frame for frame in answer_of(work)["boxes"] if frame["time_s"] == 0.75]
    for box in frame["boxes"]:
        left, top, _, bottom = (np.array(box["sides_px"]) * scale).round().astype(int).tolist()
        middle = picture[(top + bottom) // 2, max(left, 0) : left + 2]  # the left side, at half its height
        spread = middle.max(-1) - middle.min(-1)
        assert spread.max() > 50, box  # a colour on a grey video


@pytest.fixture(scope="module")
def later(work):
    """The results of further commands, all of one process that has imported the module."""
    allow = ("--allow-code", MODULE)
    commands = {
        "csv": ("predict", "run", "0.mp4", "--out", "x.csv", *allow),
        "srt": ("predict", "run", "0.mp4", "--out", "x.srt"),
        "windows": ("predict", "run", "0.mp4", "--window", "1", "--render", "windows.mp4", "--plot", "windows.png"),
        "publish": ("export", "run", "--out", "x.safetensors"),
        "published": ("predict", "x.safetensors", "0.mp4"),
        "list": ("list", "models"),
        "show": ("show", "follow.yaml"),
        "info": ("info", "two_boxes", "--json"),
        "init": ("train", "follow.yaml", "fit.duration=2st", "--init", "run", "--out", "again", "--quiet"),
        "resume": ("train", "again/recipe.yaml", "--resume", "--out", "again", "--quiet"),
        "decoder": ("decoder",),
    }
    ran = subprocess.run(
        [sys.executable, "-c", MANY, json.dumps(commands)], cwd=work, env=environment(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_tables_and_subtitles_have_the_tracks(work, later):
    with (work / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["start_s"], row["end_s"]) for row in rows] == [("0.000", "2.000")] * 2
    assert {row["label"] for row in rows} == {"dim", "bright"}
    assert (work / "x.srt").read_text().count("00:00:00,000 --> 00:00:02,000") == 2
    assert "bright" in later["csv"] and "score" in later["csv"]  # the table on the terminal


def test_windows_are_drawn_too(work, later):
    assert probe(work / "windows.mp4").num_frames == NUM_FRAMES
    assert (work / "windows.png").is_file()
    assert later["windows"].count("1.00 s") >= 2


def test_published_weights_answer(later):
    assert later["published"].splitlines()[1:] == later["csv"].splitlines()[1:]


def test_lists_know_the_parts(later):
    assert "two_boxes" in later["list"] and "Two boxes and their classes" in later["list"]
    assert f"uses:\n- {MODULE}" in later["show"]
    assert json.loads(later["info"][later["info"].index("{") :])["num_params"] > 0


def test_the_decoder_can_be_named(later):
    assert later["decoder"] == {"name": "follow", "min_score": 0.0}


REFUSED = [
    ("predict", "run", "0.mp4"),
    ("eval", "run"),
    ("eval", "run", "task.min_score=0.1"),
    ("extract", "run", "0.mp4", "--out", "features"),
    ("index", "0.mp4", "--run", "run", "--out", "x.parquet"),
    ("search", "run", "a square", "0.mp4"),
    ("export", "run", "--format", "paddle", "--out", "x.pdparams"),
]


@pytest.mark.parametrize("args", REFUSED, ids=" ".join)
def test_a_checkpoint_imports_nothing_by_itself(work, args, monkeypatch):
    monkeypatch.chdir(work)
    ran = CliRunner().invoke(app, list(args))
    assert isinstance(ran.exception, WeightsError)
    assert str(ran.exception) == (
        f"run/best.pt: needs code that is not part of videozoo: {MODULE}; if you trust it, add "
        f"--allow-code {MODULE}, in Python allow_code=['{MODULE}']"
    )
    assert MODULE not in sys.modules
