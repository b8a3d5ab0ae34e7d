from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from videozoo.errors import DataError
from videozoo.io.frame_folder import FrameFolder


@pytest.fixture
def folder(tmp_path):
    """Twelve frames; the brightness is the number in the name."""
    for number in range(1, 13):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(tmp_path / f"img_{number}.png")
    return tmp_path


def numbers(frames):
    return frames.data[:, 0, 0, 0].tolist()


def test_frames_are_in_the_order_of_their_numbers(folder):
    with FrameFolder(folder, num_frames=12, fps=10) as video:
        assert numbers(video.frames_by_index([0, 1, 9, 10])) == [1, 2, 10, 11]
        assert video.frames_by_index([3, 3]).data.shape == (2, 6, 8, 3)


def test_times(folder):
    video = FrameFolder(folder, fps=10)
    assert numbers(video.frames_at([0.0, 0.05, 0.1, 0.3, 99.0])) == [1, 1, 2, 4, 12]
    assert (video.info.duration_s, video.info.width_px, video.info.height_px) == (1.2, 8, 6)
    assert [w.times_s for w in video.windows(window_s=0.6, stride_s=0.6, fps=5)] == [
        (0, 0.2, 0.4),
        (0.6, 0.8, 1.0),
    ]


def test_num_frames_leaves_the_rest_out(folder):
    assert numbers(FrameFolder(folder, num_frames=3).frames_at([99.0])) == [3]


def test_a_template_names_the_frames(folder):
    assert numbers(FrameFolder(folder, num_frames=12, template="img_{:d}.png").frames_by_index([4])) == [5]


def test_a_missing_frame_is_named(folder):
    (folder / "img_7.png").unlink()
    with pytest.raises(DataError, match=r"img_7\.png: this frame is missing; extract the frames again"):
        FrameFolder(folder, num_frames=12, template="img_{:d}.png").frames_by_index([6])
    with pytest.raises(DataError, match="holds 11 frames as images, 12 expected"):
        FrameFolder(folder, num_frames=12)


def test_what_is_no_image_or_has_another_size_is_named(folder):
    (folder / "img_2.png").write_bytes(b"not an image")
    Image.new("RGB", (9, 9)).save(folder / "img_3.png")
    video = FrameFolder(folder)
    with pytest.raises(DataError, match=r"img_2\.png: cannot be read \("):
        video.frames_by_index([1])
    with pytest.raises(DataError, match=r"img_3\.png: is 9x9 px, img_1\.png is 8x6 px"):
        video.frames_by_index([0, 2])


def test_there_is_no_such_folder(tmp_path):
    with pytest.raises(DataError, match="there is no such folder of frames"):
        FrameFolder(tmp_path / "none")
