"""Decodes videos in advance: one folder of JPEG frames for each, and the list file."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videozoo.data.clip_list import list_line
from videozoo.data.dataset import ClipDataset
from videozoo.errors import DataError, DecodeError
from videozoo.io.decode import open_video
from videozoo.io.whole_file import write_whole_text
from videozoo.structured import read_json

__all__ = ["FRAME_NAME", "FrameList", "convert_videos", "prepare_frames", "write_frames"]

FRAME_NAME = "img_{:05d}.jpg"  # counted from 1, as other toolkits' readers of lists expect
MARKER = ".done.json"


@dataclasses.dataclass(frozen=True)
class FrameList:
    """The result of `convert_videos`: the list file, and the outcome for each video."""

    path: Path
    num_written: int
    num_kept: int
    failed: Mapping[str, str]  # path of the video -> the decoder's message


def prepare_frames(
    dataset: ClipDataset,
    out_dir: Path,
    name: str,
    *,
    short_side_px: int | None = 256,
    quality: int = 90,
    num_workers: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> FrameList:
    """Writes each video's frames to `out_dir/name/<clip>/`, and the list of them to `out_dir/name.txt`.

    A video whose frames are complete, by the same settings, is kept, so running it again resumes. Samples
    that are already folders of frames are listed in place; videos that cannot be decoded are left out.

    Args:
        on_done: called after each video.

    Raises:
        DataError: no video could be decoded, or the disk is full.
    """
    write = functools.partial(write_frames, short_side_px=short_side_px, quality=quality)
    return convert_videos(dataset, out_dir, name, write=write, num_workers=num_workers, on_done=on_done)


def convert_videos(
    dataset: ClipDataset,
    out_dir: Path,
    name: str,
    *,
    write: Callable[[Path, Path], tuple[int | None, bool]],
    suffix: str = "",
    num_workers: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> FrameList:
    """Converts each video by `write` to `out_dir/name/<clip><suffix>`, and lists the results in `out_dir/name.txt`.

    Args:
        write: converts a video to the given path; returns the number of frames if it writes a folder of them, and
            whether the result already existed. A DecodeError leaves the video out.
        suffix: of new files; empty for folders.

    Raises:
        DataError: no video could be decoded, or `write` raises it.
    """
    videos = {record.path: record.id for record in reversed(dataset.records) if record.num_frames is None}
    places = _places(videos, name, suffix=suffix)
    done: dict[Path, tuple[int | None, bool]] = {}
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(num_workers) as pool:  # decoding, scaling and encoding all let other threads run
        jobs = {pool.submit(write, video, out_dir / place): video for video, place in places.items()}
        try:
            for job in as_completed(jobs):
                video = jobs[job]
                try:
                    done[video] = job.result()
                except DecodeError as error:
                    failed[str(video)] = error.reason
                on_done()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    lines = []
    for record in dataset:
        if record.num_frames is not None:
            lines.append(list_line(str(record.path.resolve()), record.labels, num_frames=record.num_frames))
        elif record.path in done:
            num_frames, _ = done[record.path]
            lines.append(list_line(places[record.path], record.labels, num_frames=num_frames))
    if not lines:
        path, reason = next(iter(failed.items()))
        raise DataError(
            f"{dataset.source}: none of its {len(failed)} videos can be decoded ({path}: {reason}); fetch them again"
        )
    write_whole_text(out_dir / f"{name}.txt", "".join(f"{line}\n" for line in lines))
    num_kept = sum(kept for _, kept in done.values())
    return FrameList(out_dir / f"{name}.txt", len(done) - num_kept, num_kept, dict(sorted(failed.items())))


def write_frames(video: Path, folder: Path, *, short_side_px: int | None = 256, quality: int = 90) -> tuple[int, bool]:
    """Writes every frame of a video as img_00001.jpg, ...; returns their number and whether they already existed.

    Args:
        short_side_px: frames are scaled down to this, never up; None keeps their size.
        quality: JPEG quality as in Pillow, 1..95.

    Raises:
        DecodeError: the video cannot be decoded to its end; its frames are removed.
        DataError: the folder cannot be written.
    """
    size_bytes = video.stat().st_size if video.is_file() else 0
    wanted = {"source_bytes": size_bytes, "short_side_px": short_side_px, "quality": quality}
    marker = _read_marker(folder)
    if marker is not None and wanted.items() <= marker.items():
        return int(marker["num_frames"]), True
    num_frames = 0
    try:
        _clear(folder)
        with open_video(video) as reader:
            for _, frame in reader.stream():
                num_frames += 1
                image = _scaled(frame, short_side_px)
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / FRAME_NAME.format(num_frames), quality=quality)
            fps = reader.info.fps
        write_whole_text(folder / MARKER, json.dumps({**wanted, "num_frames": num_frames, "fps": fps}))
    except DecodeError:
        _clear(folder)
        raise
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); "
            "free some space or choose another folder, then run again to resume"
        ) from error
    return num_frames, False


def _places(videos: Mapping[Path, str], name: str, *, suffix: str) -> dict[Path, str]:
    """Returns each video's path below the output: its id without the ending, or with it if that is taken."""
    places: dict[Path, str] = {}
    taken: set[str] = set()
    for video, sample_id in sorted(videos.items()):
        parts = [part for part in re.split(r"[\\/]+", sample_id) if part not in ("", ".", "..")]
        place = "/".join([name, *parts]).removesuffix(video.suffix)
        while place in taken:
            place += video.suffix.replace(".", "-") or "-2"
        taken.add(place)
        places[video] = place + suffix
    return places


def _scaled(frame: np.ndarray, short_side_px: int | None) -> Image.Image:
    image = Image.fromarray(frame)
    short_px = min(image.size)
    if short_side_px is None or short_px <= short_side_px:
        return image
    width_px, height_px = (max(round(side * short_side_px / short_px), 1) for side in image.size)
    return image.resize((width_px, height_px), Image.Resampling.BILINEAR)


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = read_json(folder / MARKER, kind="mark of extracted frames")
    except DataError:
        return None
    return marker if isinstance(marker, dict) and isinstance(marker.get("num_frames"), int) else None


def _clear(folder: Path) -> None:
    """Removes only the frames and the marker of an earlier attempt."""
    if folder.is_dir():
        (folder / MARKER).unlink(missing_ok=True)
        for frame in folder.glob("img_*.jpg"):
            frame.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
