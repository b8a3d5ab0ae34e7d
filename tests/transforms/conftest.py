from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from videozoo.contracts.record import ClipRecord

STEP = 8  # grey levels from one frame to the next


def write_video(path, times_s):
    """A file whose frame i has the brightness i * STEP and comes on screen at times_s[i]."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"crf": "1", "bf": "0"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, time_s in enumerate(times_s):
            picture = np.full((48, 64, 3), i * STEP, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def frame_numbers(video):
    """The number of each frame of a clip, read from its brightness."""
    return (video.float().mean((-3, -2, -1)) / STEP).round().int().tolist()


@pytest.fixture(scope="session")
def steady(tmp_path_factory):
    """30 frames at 10 Hz."""
    path = write_video(tmp_path_factory.mktemp("steady") / "steady.mp4", [i / 10 for i in range(30)])
    return ClipRecord("steady", path, labels=(3,))


@pytest.fixture(scope="session")
def uneven(tmp_path_factory):
    """20 frames at 20 Hz, then 9 at 2 Hz (the last short): 5.1 s."""
    times_s = [i / 20 for i in range(20)] + [1 + i / 2 for i in range(9)]
    return ClipRecord("uneven", write_video(tmp_path_factory.mktemp("uneven") / "uneven.mp4", times_s))


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """A folder of 20 frames, 80x60 px: red is the frame's number, green the row, blue the column."""
    folder = tmp_path_factory.mktemp("places")
    for i in range(20):
        y, x = np.mgrid[:60, :80]
        picture = np.stack([np.full_like(x, i), y, x], -1).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i + 1}.png")
    return ClipRecord("places", folder, labels=(2,), num_frames=20)
