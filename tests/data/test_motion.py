from __future__ import annotations

import dataclasses
import json

import av
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from videozoo.cli.synth import synth
from videozoo.data.motion import (
    CLASSES,
    PAUSE,
    TAGS,
    Event,
    Script,
    State,
    boxes,
    caption,
    clip_script,
    make_clips,
    make_untrimmed,
    render,
    segments,
    sound,
    tags,
    untrimmed_script,
)
from videozoo.data.motion.shapes import SHAPES
from videozoo.errors import ConfigError, DataError

STILL = State(x=0.5, y=0.5, radius=0.2, angle_deg=0)
CORNER = State(x=0, y=0, radius=1e-6, angle_deg=0)


def clip(motion, *, seed=0, num_frames=24, size_px=64):
    return clip_script(np.random.default_rng(seed), motion=motion, num_frames=num_frames, fps=12, size_px=size_px)


def event(start_s, end_s, motion, shape="ring", colour="red", begin=STILL, end=STILL):
    return Event(start_s, end_s, motion, shape, colour, begin, end, texture_seed=1)


def script(*events, size_px=64):
    return Script(seed=5, duration_s=events[-1].end_s, fps=12, size_px=size_px, events=events)


def shape_masks(of):
    """Where each frame differs from the same video with its shapes out of the way."""
    away = tuple(dataclasses.replace(e, begin=CORNER, end=CORNER) for e in of.events)
    frames, empty = (np.stack(list(render(s))).astype(int) for s in (of, dataclasses.replace(of, events=away)))
    masks = np.abs(frames - empty).max(axis=-1) > 6
    masks[:, 0, 0] = False  # the one pixel that the shape put away may touch
    return masks


def read_frames(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------- one frame says nothing


def ks_distance(a, b):
    """The greatest distance between two empirical distribution functions."""
    both = np.concatenate([a, b])
    return np.abs(
        np.searchsorted(np.sort(a), both, side="right") / len(a)
        - np.searchsorted(np.sort(b), both, side="right") / len(b)
    ).max()


NUM_DRAWN = 300
# beyond this, two samples of one distribution lie with a probability of 0.0001
KS_LIMIT = np.sqrt(-np.log(0.0001 / 2) / NUM_DRAWN)


def drawn_states(motion, *, frame=None):
    """Rows of x, y, radius, angle, shape, colour at one frame of many clips (by default a random one)."""
    rows = []
    for seed in range(NUM_DRAWN):
        rng = np.random.default_rng([seed, (*CLASSES, PAUSE).index(motion)])
        of = clip_script(rng, motion=motion, num_frames=24, fps=12, size_px=64)
        (e,) = of.events
        state = e.state_at((0.5 + (rng.integers(24) if frame is None else frame)) / 12)
        look = (list(SHAPES).index(e.shape), TAGS.index(e.colour))
        rows.append((state.x, state.y, state.radius, state.angle_deg % 360, *look))
    return np.array(rows).T


def test_state_at_a_random_frame_does_not_depend_on_the_motion():
    drawn = {motion: drawn_states(motion) for motion in (*CLASSES, PAUSE)}
    for motion, rows in drawn.items():
        for name, ours, still in zip(("x", "y", "radius", "angle", "shape", "colour"), rows, drawn[PAUSE], strict=True):
            assert motion == PAUSE or ks_distance(ours, still) < KS_LIMIT, (motion, name)


def test_the_distance_used_above_sees_what_a_frame_of_known_time_would_tell():
    left, right = drawn_states("moves left", frame=0), drawn_states("moves right", frame=0)
    assert ks_distance(left[0], right[0]) > 3 * KS_LIMIT
    assert ks_distance(left[1], right[1]) < KS_LIMIT


def test_shapes_stay_inside_the_picture():
    for seed in range(40):
        found = boxes(clip(CLASSES[seed % 8], seed=seed))
        assert found.min() > 0
        assert found.max() < 64


# ---------------------------------------------------------------- pixels and sound


def test_frames_are_uint8_pictures_and_the_same_each_time():
    of = clip("moves left", num_frames=5, size_px=32)
    first, second = list(render(of)), list(render(of))
    assert len(first) == 5
    assert first[0].shape == (32, 32, 3)
    assert first[0].dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[4])
    other = list(render(dataclasses.replace(of, seed=of.seed + 1)))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_bound_what_is_drawn(shape):
    begin, end = State(0.4, 0.5, 0.22, 30), State(0.6, 0.5, 0.22, 200)
    of = script(event(0, 1, "moves right", shape, "yellow", begin, end), size_px=128)
    for mask, box in zip(shape_masks(of), boxes(of), strict=True):
        rows, columns = np.nonzero(mask)
        drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(box, drawn, atol=2)  # edges are soft, most so at pointed ends


@pytest.mark.parametrize("shape", SHAPES)
def test_a_quarter_turn_changes_every_shape(shape):
    masks = [
        shape_masks(script(event(0, 1, PAUSE, shape, "cyan", state, state)))[0]
        for state in (dataclasses.replace(STILL, angle_deg=angle) for angle in (0, 90, 180, 270))
    ]
    for turned in masks[1:]:
        assert np.logical_xor(masks[0], turned).sum() > 0.1 * masks[0].sum()


@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [("moves left", 0, -1), ("moves right", 0, 1), ("moves up", 1, -1), ("moves down", 1, 1)],
)
def test_shapes_move_where_the_class_says(motion, axis, sign):
    for seed in range(3):
        masks = shape_masks(clip(motion, seed=seed))
        centres = np.array([np.argwhere(mask)[:, ::-1].mean(axis=0) for mask in (masks[0], masks[-1])])
        moved = centres[1] - centres[0]
        assert 0.22 * 64 < sign * moved[axis] < 0.37 * 64
        assert abs(moved[1 - axis]) < 1.5


@pytest.mark.parametrize(("motion", "sign"), [("grows", 1), ("shrinks", -1)])
def test_shapes_change_size_as_the_class_says(motion, sign):
    for seed in range(3):
        areas = shape_masks(clip(motion, seed=seed, size_px=128)).sum(axis=(1, 2))
        assert (np.diff(sign * areas) > -0.02 * areas.max()).all()
        assert sign * np.log(areas[-1] / areas[0]) > 0.6


@pytest.mark.parametrize(("motion", "sign"), [("turns clockwise", 1), ("turns counter-clockwise", -1)])
def test_shapes_turn_as_the_class_says(motion, sign):
    of = clip(motion, size_px=128)
    of = dataclasses.replace(of, events=(dataclasses.replace(of.events[0], shape="crescent"),))
    state = of.events[0].begin
    heavy_side = [np.argwhere(m)[:, ::-1].mean(axis=0) - (state.x * 128, state.y * 128) for m in shape_masks(of)]
    angles = np.unwrap([np.arctan2(down, across) for across, down in heavy_side])  # grows clockwise on the screen
    assert 170 < sign * np.rad2deg(angles[-1] - angles[0]) < 301


def test_a_tone_starts_each_event_and_pauses_are_silent():
    of = script(event(0, 1, PAUSE), event(1, 2, "grows"), event(2, 3, PAUSE), event(3, 4, "moves left"))
    heard = sound(of, rate_hz=8000)
    assert heard.dtype == np.float32
    assert len(heard) == 4 * 8000
    loud = np.abs(heard.reshape(4, 8000)).max(axis=1)
    assert loud[0] == loud[2] == 0
    assert 0.3 < loud[1] <= 1
    pitches_hz = [np.abs(np.fft.rfft(part)).argmax() for part in (heard[8000:16000], heard[24000:])]
    assert pitches_hz[0] > 1.5 * pitches_hz[1] > 300


# ---------------------------------------------------------------- labels


def test_labels_of_a_script():
    of = script(
        event(0, 1, PAUSE, "cross", "blue"),
        event(1, 2.5, "grows", "ring", "red"),
        event(2.5, 3, PAUSE, "cross", "blue"),
        event(3, 5, "moves left", "square", "orange"),
    )
    assert caption(of) == "a red ring grows, then an orange square moves left"
    assert tags(of) == ("moves left", "grows", "square", "ring", "red", "orange")
    assert [(s.start_s, s.end_s, s.label) for s in segments(of)] == [(1, 2.5, "grows"), (3, 5, "moves left")]
    assert boxes(of).shape == (60, 4)
    assert caption(script(event(0, 1, PAUSE))) == "nothing moves"


def test_scripts_survive_json():
    of = untrimmed_script(np.random.default_rng(3), motions=CLASSES, num_frames=240, fps=12, size_px=64)
    assert Script.from_json(of.to_json()) == of
    assert of.num_frames == len(of.frames()) == 240
    assert of.events[0].motion == of.events[-1].motion == PAUSE
    assert len(segments(of)) >= 2


def test_values_check_themselves():
    with pytest.raises(DataError, match="there is no 'jumps'; accepted: moves left, "):
        event(0, 1, "jumps")
    with pytest.raises(DataError, match="event: needs 0 <= start_s < end_s"):
        event(2, 1, "grows")
    with pytest.raises(DataError, match="script: events end at"):
        script(event(0, 1, "grows"), event(1.5, 2, "grows"))
    with pytest.raises(DataError, match=r"script: seed: field required; needs a line of scripts\.jsonl"):
        Script.from_json("{}")


# ---------------------------------------------------------------- worlds

SMALL = {"num_train": 5, "num_val": 2, "size_px": 32, "length_s": 0.5, "num_classes": 3, "seed": 1}


def test_clips_are_written_with_their_lists(tmp_path):
    make_clips(tmp_path / "a", **SMALL)
    assert (tmp_path / "a/classes.txt").read_text() == "moves_left\nmoves_right\nmoves_up\n"
    train = (tmp_path / "a/train.txt").read_text().splitlines()
    assert train[0] == "train/moves_left/00000.mp4 0"
    assert [line.split()[1] for line in train] == ["0", "1", "2", "0", "1"]
    assert len((tmp_path / "a/val.txt").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "a/world.json").read_text())["complete"] is True
    truths = [json.loads(line) for line in (tmp_path / "a/scripts.jsonl").read_text().splitlines()]
    assert sorted(t["path"] for t in truths) == sorted(n for n in files(tmp_path / "a") if n.endswith(".mp4"))
    for truth in truths:
        frames = read_frames(tmp_path / "a" / truth["path"])
        drawn = np.stack(list(render(Script.from_json(json.dumps(truth["script"])))))
        assert frames.shape == drawn.shape == (6, 32, 32, 3)
        assert np.abs(frames.astype(int) - drawn).mean() < 8
    with av.open(str(tmp_path / "a" / truths[0]["path"])) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert len(container.streams.audio) == 1


def test_a_world_does_not_depend_on_the_workers(tmp_path):
    make_clips(tmp_path / "a", **SMALL)
    make_clips(tmp_path / "b", **SMALL, num_workers=2)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    make_clips(tmp_path / "c", **{**SMALL, "seed": 2})
    name = "train/moves_up/00002.mp4"
    assert not np.array_equal(read_frames(tmp_path / "a" / name), read_frames(tmp_path / "c" / name))


def test_asking_for_more_leaves_the_others_as_they_are(tmp_path):
    make_clips(tmp_path / "a", **SMALL)
    make_clips(tmp_path / "b", **{**SMALL, "num_train": 6})
    few, more = files(tmp_path / "a"), files(tmp_path / "b")
    assert {n: d for n, d in more.items() if n in few and n.endswith("mp4")} == {
        n: d for n, d in few.items() if n.endswith("mp4")
    }


def test_an_interrupted_world_is_completed(tmp_path):
    class Interrupted(Exception):
        pass

    def stop_after_three(done, total):
        assert total == 7
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        make_clips(tmp_path / "a", **SMALL, progress=stop_after_three)
    begun = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*.mp4")}
    assert len(begun) == 3
    assert not (tmp_path / "a/train.txt").exists()
    with pytest.raises(ConfigError, match=r"a: holds a different world \(seed differ\); add --overwrite"):
        make_clips(tmp_path / "a", **{**SMALL, "seed": 2})

    counted = []
    make_clips(tmp_path / "a", **SMALL, progress=lambda done, total: counted.append((done, total)))
    assert counted == [(4, 7), (5, 7), (6, 7), (7, 7)]
    assert {p: p.stat().st_mtime_ns for p in begun} == begun
    make_clips(tmp_path / "b", **SMALL)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_overwrite_replaces_the_world_and_nothing_else(tmp_path):
    make_clips(tmp_path, **SMALL)
    with pytest.raises(ConfigError, match=r"already holds this world; nothing to do, or add --overwrite"):
        make_clips(tmp_path, **SMALL)
    (tmp_path / "notes.md").write_text("mine")
    make_untrimmed(tmp_path, num_train=1, num_val=0, size_px=16, length_s=12, fps=4, overwrite=True)
    kept = {p.name for p in tmp_path.iterdir()}
    assert kept == {"annotations.json", "classes.txt", "notes.md", "scripts.jsonl", "videos", "world.json"}


def test_overwrite_never_clears_what_is_no_world(tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and is not a motion world; choose another folder"):
        make_clips(tmp_path, **SMALL, overwrite=True)
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_untrimmed_videos_carry_activitynet_annotations(tmp_path):
    make_untrimmed(tmp_path, num_train=2, num_val=1, size_px=16, length_s=15, fps=4, num_classes=4)
    written = json.loads((tmp_path / "annotations.json").read_text())
    assert set(written) == {"version", "database"}
    assert [v["subset"] for v in written["database"].values()] == ["training", "training", "validation"]
    for name, entry in written["database"].items():
        assert entry["resolution"] == "16x16"
        assert len(read_frames(tmp_path / "videos" / f"{name}.mp4")) == round(entry["duration"] * 4)
        assert 15 * 0.69 < entry["duration"] < 15 * 1.31
        assert entry["annotations"]
        last_end = 0.0
        for annotation in entry["annotations"]:
            start, end = annotation["segment"]
            assert last_end < start < end < entry["duration"]
            assert annotation["label"] in {name.replace(" ", "_") for name in CLASSES[:4]}
            last_end = end


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_classes": 0}, r"num_classes=0 is out of range; needs 1\.\.8"),
        ({"num_classes": 9}, r"num_classes=9 is out of range; needs 1\.\.8"),
        ({"size_px": 14}, "size_px=14 is out of range; needs an even number, 16 or more"),
        ({"size_px": 33}, "size_px=33 is out of range; needs an even number, 16 or more"),
        ({"length_s": 0.1}, r"a length of 0\.1 s at 12 frames/s is 1 frames; needs 4 or more"),
        ({"length_s": float("nan")}, "length_s=nan is out of range; needs a positive number of seconds"),
        ({"fps": 0}, "fps=0 is out of range; needs 1 or more"),
        ({"num_train": -1}, "num_train=-1 is out of range; needs 0 or more"),
        ({"num_train": 0, "num_val": 0}, "are both 0; at least one video is needed"),
        ({"seed": -1}, "seed=-1 is out of range"),
        ({"num_workers": -1}, "num_workers=-1 is out of range"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=f"synth clips: .*{message}"):
        make_clips(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_untrimmed_needs_room_for_an_event(tmp_path):
    with pytest.raises(ConfigError, match=r"a length of 5 s leaves no room for events; needs 11\.4 s or more"):
        make_untrimmed(tmp_path / "out", length_s=5)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        make_clips(tmp_path / "out", **SMALL)


# ---------------------------------------------------------------- the verb


def run(*words):
    app = typer.Typer()
    app.command()(synth)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_verb_writes_the_same_world_as_the_function(tmp_path):
    counts = ("--num-train", 5, "--num-val", 2, "--classes", 3)
    result = run(tmp_path / "a", *counts, "--size", 32, "--length", 0.5, "--seed", 1, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert "clips are ready" in result.output
    make_clips(tmp_path / "b", **SMALL)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_verb_names_the_kinds(tmp_path):
    result = run(tmp_path / "a", "--kind", "clip")
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == (
        "synth --kind: there is no 'clip'; did you mean 'clips'? accepted: captions, clips, queries, shots, "
        "untrimmed, yt8m"
    )
