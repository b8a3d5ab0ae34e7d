"""A world of short videos with one motion each: the classes, and tags of motion, shape and colour."""

from __future__ import annotations

from pathlib import Path

from videozoo.data.motion.folder import Progress, write_world
from videozoo.data.motion.labels import TAGS, tags
from videozoo.data.motion.script import CLASSES, Script, clip_script
from videozoo.data.motion.world import SPLITS, World, folder_name
from videozoo.errors import ConfigError

__all__ = ["make_clips"]

_MIN_CLIP_FRAMES = 4


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
    """Writes short videos with one motion each, in one folder for each class, and list files.

    train/<class>/*.mp4 and val/<class>/*.mp4; as lists train.txt and val.txt (lines `path label`); and tags/train.txt
    and tags/val.txt, with motion, shape and colour of each (lines `path label label label`).

    A second call with the same arguments completes an interrupted world: finished videos are kept. With
    `num_workers` > 0 a calling script needs the usual `if __name__ == "__main__"`.

    Args:
        num_workers: processes that draw and encode; 0 runs in this process.
        overwrite: replace the world in `out_dir`; other files are never touched.
        progress: called with (videos done, videos in all) after each.

    Raises:
        ConfigError: an argument is out of range, or `out_dir` holds other files.
    """
    world = World.asked_for("clips", locals())
    num_frames = round(length_s * fps)
    if num_frames < _MIN_CLIP_FRAMES:
        raise ConfigError(
            f"synth clips: a length of {length_s} s at {fps} frames/s is {num_frames} frames; "
            f"needs {_MIN_CLIP_FRAMES} or more"
        )
    names = world.class_names
    videos: list[tuple[str, Script]] = []
    texts: dict[str, str] = {}
    for split in SPLITS:
        lines, tagged = [], []
        for index, rng in world.draws(split):
            motion = world.motions[index % num_classes]
            path = f"{split}/{folder_name(motion)}/{index:05d}.mp4"
            script = clip_script(rng, motion=motion, num_frames=num_frames, fps=fps, size_px=size_px)
            videos.append((path, script))
            lines.append(f"{path} {names.index(folder_name(motion))}\n")
            tagged.append(" ".join([f"../{path}", *(str(TAGS.index(tag)) for tag in tags(script))]) + "\n")
        texts[f"{split}.txt"] = "".join(lines)
        texts[f"tags/{split}.txt"] = "".join(tagged)
    texts["tags/classes.txt"] = "".join(f"{tag}\n" for tag in TAGS)
    texts |= world.texts(videos)
    write_world(
        out_dir, world.to_dict(), videos, texts, num_workers=num_workers, overwrite=overwrite, progress=progress
    )
