"""Writes a motion world: a folder of encoded videos with the labels that go with them.

    clips       train/<class>/*.mp4, val/<class>/*.mp4, and as lists train.txt, val.txt (lines `path label`);
                tags/train.txt, tags/val.txt: motion, shape and colour of each (lines `path label label label`)
    untrimmed   videos/*.mp4, annotations.json (ActivityNet's form)

Beside them lie classes.txt, scripts.jsonl (the script of each video: the truth), and world.json, which says
what was asked for and whether all of it is there. The same arguments give the same bytes, whatever the
number of workers.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.data.motion.labels import TAGS, segments, tags
from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import CLASSES, Script, clip_script, untrimmed_script
from videozoo.errors import ConfigError

__all__ = ["KINDS", "make_clips", "make_untrimmed"]

_VERSION = 1  # raise it when the same arguments no longer give the same videos
_MARKER = "world.json"
_AUDIO_RATE_HZ = 16_000
_PRESET = "veryfast"  # small pictures: slower ones cost time and save few bytes
_MIN_CLIP_FRAMES = 4
_MIN_UNTRIMMED_S = 8.0  # room for one event and a pause on both sides, at their longest

Progress = Callable[[int, int], None]
_WriteOne = Callable[[Path, Any], None]
_Video = tuple[str, Script]  # path below the world's folder, and what it shows


def make_clips(
    out_dir: Path | str,
    *,
    num_train: int = 800,
    num_val: int = 200,
    size_px: int = 64,
    length_s: float = 2.0,
    fps: int = 12,
    num_classes: int = len(CLASSES),
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Short videos with one motion each, in a folder a class and in list files.

    A world that was interrupted is completed when asked for again with the same arguments: videos that are
    there stay. With `num_workers` > 0 a calling script needs the usual `if __name__ == "__main__"`.

    Args:
        num_workers: processes that draw and encode; 0 does it in this one.
        overwrite: replace the world in `out_dir`; files that are not part of it are never touched.
        progress: called with (videos done, videos in all) after each.

    Raises:
        ConfigError: an argument is out of range, or `out_dir` holds something else.
    """
    asked = _asked("clips", locals())
    num_frames = round(length_s * fps)
    if num_frames < _MIN_CLIP_FRAMES:
        raise ConfigError(
            f"synth clips: a length of {length_s} s at {fps} frames/s is {num_frames} frames; "
            f"needs {_MIN_CLIP_FRAMES} or more"
        )
    names = class_names(num_classes)
    videos: list[_Video] = []
    texts: dict[str, str] = {}
    for split, num_videos in (("train", num_train), ("val", num_val)):
        lines, tagged = [], []
        for index in range(num_videos):
            label = index % num_classes
            motion = CLASSES[label]
            path = f"{split}/{folder_name(motion)}/{index:05d}.mp4"
            rng = _rng(seed, split, index)
            script = clip_script(rng, motion=motion, num_frames=num_frames, fps=fps, size_px=size_px)
            videos.append((path, script))
            lines.append(f"{path} {names.index(folder_name(motion))}\n")
            tagged.append(" ".join([f"../{path}", *(str(TAGS.index(tag)) for tag in tags(script))]) + "\n")
        texts[f"{split}.txt"] = "".join(lines)
        texts[f"tags/{split}.txt"] = "".join(tagged)
    texts["tags/classes.txt"] = "".join(f"{tag}\n" for tag in TAGS)
    texts |= _common_texts(videos, num_classes)
    _write(Path(out_dir), asked, videos, texts, num_workers=num_workers, overwrite=overwrite, progress=progress)


def make_untrimmed(
    out_dir: Path | str,
    *,
    num_train: int = 80,
    num_val: int = 20,
    size_px: int = 64,
    length_s: float = 30.0,
    fps: int = 12,
    num_classes: int = len(CLASSES),
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Long videos with several segments of several classes and pauses between them, with their annotations.

    Durations are drawn between 0.7 and 1.3 times `length_s`. Arguments and errors as in `make_clips`.
    """
    asked = _asked("untrimmed", locals())
    shortest, longest = _untrimmed_bounds("untrimmed", length_s)
    videos: list[_Video] = []
    database: dict[str, Any] = {}
    for split, subset, num_videos in (("train", "training", num_train), ("val", "validation", num_val)):
        for index in range(num_videos):
            rng = _rng(seed, split, index)
            num_frames = round(rng.uniform(shortest, longest) * fps)
            motions = CLASSES[:num_classes]
            script = untrimmed_script(rng, motions=motions, num_frames=num_frames, fps=fps, size_px=size_px)
            name = f"{split}_{index:05d}"
            videos.append((f"videos/{name}.mp4", script))
            database[name] = {
                "duration": script.duration_s,
                "subset": subset,
                "resolution": f"{size_px}x{size_px}",
                "annotations": [
                    {"segment": [s.start_s, s.end_s], "label": folder_name(s.label)} for s in segments(script)
                ],
            }
    annotations = {"version": f"motion world {_VERSION}", "database": database}
    texts = {
        "annotations.json": json.dumps(annotations, indent=1) + "\n",
        **_common_texts(videos, num_classes),
    }
    _write(Path(out_dir), asked, videos, texts, num_workers=num_workers, overwrite=overwrite, progress=progress)


KINDS: dict[str, Callable[..., None]] = {"clips": make_clips, "untrimmed": make_untrimmed}


def _asked(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that decide what the world holds, checked as far as they mean the same for every kind."""
    names = ("num_train", "num_val", "size_px", "length_s", "fps", "num_classes", "seed")
    asked = {"version": _VERSION, "kind": kind, **{name: arguments[name] for name in names}}
    rules = {
        "num_train": (asked["num_train"] >= 0, "0 or more"),
        "num_val": (asked["num_val"] >= 0, "0 or more"),
        "size_px": (asked["size_px"] >= 16 and asked["size_px"] % 2 == 0, "an even number, 16 or more"),
        "length_s": (0 < asked["length_s"] < float("inf"), "a positive number of seconds"),
        "fps": (asked["fps"] >= 1, "1 or more"),
        "num_classes": (1 <= asked["num_classes"] <= len(CLASSES), f"1..{len(CLASSES)}"),
        "seed": (asked["seed"] >= 0, "0 or more"),
        "num_workers": (arguments["num_workers"] >= 0, "0 or more"),
    }
    for name, (is_fine, accepted) in rules.items():
        if not is_fine:
            raise ConfigError(f"synth {kind}: {name}={arguments[name]} is out of range; needs {accepted}")
    if asked["num_train"] + asked["num_val"] == 0:
        raise ConfigError(f"synth {kind}: num_train and num_val are both 0; at least one video is needed")
    return asked


def _untrimmed_bounds(kind: str, length_s: float) -> tuple[float, float]:
    """The shortest and the longest of long videos that are `length_s` on average."""
    shortest, longest = 0.7 * length_s, 1.3 * length_s
    if shortest < _MIN_UNTRIMMED_S:
        raise ConfigError(
            f"synth {kind}: a length of {length_s} s leaves no room for events; "
            f"needs {_MIN_UNTRIMMED_S / 0.7:.1f} s or more"
        )
    return shortest, longest


def _rng(seed: int, split: str, index: int) -> np.random.Generator:
    """A video's own generator: asking for more videos leaves the others as they are."""
    return np.random.default_rng([seed, ("train", "val").index(split), index])


def class_names(num_classes: int) -> list[str]:
    """The names of a world's classes in the order that a folder per class gives them."""
    return sorted(folder_name(motion) for motion in CLASSES[:num_classes])


def folder_name(motion: str) -> str:
    """What folders and label files call a motion."""
    return motion.replace(" ", "_")


def _common_texts(videos: Sequence[_Video], num_classes: int) -> dict[str, str]:
    return {
        "classes.txt": "".join(f"{name}\n" for name in class_names(num_classes)),
        "scripts.jsonl": "".join(f'{{"path": "{path}", "script": {script.to_json()}}}\n' for path, script in videos),
    }


def _write(
    out_dir: Path,
    asked: dict[str, Any],
    videos: Sequence[tuple[str, Any]],
    texts: dict[str, str],
    *,
    num_workers: int,
    overwrite: bool,
    progress: Progress | None,
    write_one: _WriteOne | None = None,
) -> None:
    """Videos, then texts, then the mark that all is there; each file appears whole or not at all.

    `write_one` writes another kind of file than videos, from its path and what `videos` has beside that.
    """
    holds = sorted({path.partition("/")[0] for path in (*(path for path, _ in videos), *texts)})
    _claim(out_dir, asked, overwrite=overwrite)
    _mark(out_dir, asked, holds, complete=False)
    missing = [(out_dir / path, content) for path, content in videos if not (out_dir / path).exists()]
    for folder in {path.parent for path, _ in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    written = _in_workers(write_one or _write_video, missing, num_workers)
    for done, _ in enumerate(written, len(videos) - len(missing) + 1):
        if progress is not None:
            progress(done, len(videos))
    for name, text in texts.items():
        _write_text(out_dir / name, text)
    _mark(out_dir, asked, holds, complete=True)


def _claim(out_dir: Path, asked: dict[str, Any], *, overwrite: bool) -> None:
    """Makes `out_dir` ready: empty, cleared of the world to replace, or with the asked one's beginning in it.

    Raises:
        ConfigError: it holds something that is not to be replaced.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise ConfigError(f"{out_dir}: is a file; name a folder")
    out_dir.mkdir(parents=True, exist_ok=True)
    if not any(out_dir.iterdir()):
        return
    try:
        found = json.loads((out_dir / _MARKER).read_text(encoding="utf-8"))
        before, is_complete, holds = found["asked"], found["complete"], list(found["holds"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{out_dir}: is not empty and is not a motion world; choose another folder or empty it yourself"
        ) from None
    if overwrite:
        _mark(out_dir, before, holds, complete=False)
        for path in [p for p in out_dir.iterdir() if p.name in holds]:
            _remove(path)
    elif before != asked:
        differ = [name for name in {**before, **asked} if before.get(name) != asked.get(name)]
        raise ConfigError(f"{out_dir}: holds another world ({', '.join(differ)} differ); add --overwrite to replace it")
    elif is_complete:
        raise ConfigError(f"{out_dir}: already holds this world; nothing to do, or add --overwrite to draw it again")


def _mark(out_dir: Path, asked: dict[str, Any], holds: Sequence[str], *, complete: bool) -> None:
    """Says in the folder what was asked for, which names in it belong to that, and whether all is there."""
    _write_text(out_dir / _MARKER, json.dumps({"asked": asked, "complete": complete, "holds": holds}, indent=1))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _in_workers(write_one: _WriteOne, jobs: Sequence[tuple[Path, Any]], num_workers: int) -> Iterator[None]:
    if num_workers == 0:
        yield from itertools.starmap(write_one, jobs)
        return
    # spawn: a fork would copy the threads that the caller's libraries hold
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        try:
            futures = [pool.submit(write_one, *job) for job in jobs]
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_video(path: Path, script: Script) -> None:
    from videozoo.io.encode import write_video

    audio = sound(script, rate_hz=_AUDIO_RATE_HZ)
    write_video(path, render(script), fps=script.fps, audio=audio, audio_rate_hz=_AUDIO_RATE_HZ, preset=_PRESET)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
