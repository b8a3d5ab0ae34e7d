import json

import numpy as np

from videozoo.data.clipshots import clipshots
from videozoo.data.motion import FilmScript, clip_script, make_shots, render, render_film
from videozoo.io.decode import open_video


def shot(seed, num_frames):
    rng = np.random.default_rng(seed)
    return clip_script(rng, motion="grows", num_frames=num_frames, fps=12, size_px=32)


def test_transitions_are_where_the_frames_say():
    film = FilmScript((shot(0, 6), shot(1, 9), shot(2, 8)), ("cut", "dissolve"), (0, 4))
    frames = list(render_film(film))
    assert len(frames) == film.num_frames == 19
    assert film.transitions == [(5, 6), (10, 15)]
    shots = [list(render(each)) for each in film.shots]
    pure = [*zip(range(6), shots[0], strict=True), *zip(range(6, 11), shots[1][:5], strict=True)]
    pure += list(zip(range(15, 19), shots[2][4:], strict=True))
    for place, picture in pure:
        assert np.array_equal(frames[place], picture), place
    for step in range(1, 5):  # both shots move on while one fades into the other
        mix = (1 - step / 5) * shots[1][4 + step] + step / 5 * shots[2][step - 1]
        assert np.abs(frames[10 + step] - mix).max() <= 0.5 + 1e-6


def test_a_wipe_replaces_the_picture_from_the_left():
    film = FilmScript((shot(0, 8), shot(1, 8)), ("wipe",), (3,))
    frames = list(render_film(film))
    before, after = (list(render(each)) for each in film.shots)
    for step in range(1, 4):
        edge = round(step / 4 * 32)
        frame = frames[film.transitions[0][0] + step]
        assert np.array_equal(frame[:, :edge], after[step - 1][:, :edge])
        assert np.array_equal(frame[:, edge:], before[4 + step][:, edge:])


def test_the_world(tmp_path):
    make_shots(tmp_path / "w", num_train=2, num_val=1, size_px=16, length_s=8)
    records = clipshots(tmp_path / "w" / "train.json")
    scripts = [json.loads(line)["script"] for line in (tmp_path / "w" / "scripts.jsonl").read_text().splitlines()]
    assert len(records) == 2 and len(scripts) == 3
    assert len(clipshots(tmp_path / "w" / "val.json")) == 1
    for record, script in zip(records, scripts, strict=False):
        assert len(record.transitions) == len(script["kinds"]) >= 1
        gaps = [first - last - 1 for last, first in record.transitions]
        assert gaps == script["blends"]
        assert all((kind == "cut") == (gap == 0) for kind, gap in zip(script["kinds"], gaps, strict=True))
        with open_video(record.path) as reader:
            assert reader.num_frames > record.transitions[-1][1]
