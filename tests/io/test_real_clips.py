"""Clips from other projects' tests: each decodes exactly, or fails for the reason listed here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videozoo.errors import DataError, DecodeError
from videozoo.io.audio import read_audio
from videozoo.io.decode import open_video

CLIPS = Path(__file__).parents[2].parent / "shared" / "data" / "clips"
FILES = sorted(file.relative_to(CLIPS).as_posix() for file in CLIPS.rglob("*") if file.is_file())

# Decodable frames, and what is said of the first that is not.
DAMAGED = {"decord/corrupted.mp4": (29, r"the frame at 2\.90 s cannot be decoded \(.+\), 29 of 50 frames")}

pytestmark = pytest.mark.skipif(not FILES, reason="the clips in ../shared/data/clips are not on this machine")


@pytest.mark.parametrize("name", FILES)
def test_seeking_equals_sequential_reading(name):
    """A few frames of each file, one by one and in any order; thinned out to bound memory."""
    with open_video(CLIPS / name) as video:
        thin = (slice(None, None, 16), slice(None, None, 16))
        read = []
        if name in DAMAGED:
            num, reason = DAMAGED[name]
            with pytest.raises(DecodeError, match=reason):
                read.extend((t, frame[thin].copy()) for t, frame in video.stream())
            assert len(read) == num
            with pytest.raises(DecodeError, match=r"cannot be decoded"):
                video.frames_at([video.info.duration_s])
        else:
            read = [(t, frame[thin].copy()) for t, frame in video.stream()]
            assert video.num_frames == len(read)
        times = [t for t, _ in read]
        assert times[0] == 0
        assert (np.diff(times) > 0).all()
        for index in np.random.default_rng(0).permutation(len(read))[:3].tolist():
            one = video.frames_at([times[index]])
            assert one.data.shape[1:3] == (video.info.height_px, video.info.width_px)
            assert one.times_s == (times[index],)
            assert np.array_equal(one.data[0][thin], read[index][1])
            assert np.array_equal(video.frames_by_index([index]).data, one.data)


@pytest.mark.parametrize("name", FILES)
def test_sound_is_read_where_there_is_some(name):
    with open_video(CLIPS / name) as video:
        info = video.info
    if not info.has_audio:
        with pytest.raises(DataError, match="has no audio stream"):
            read_audio(CLIPS / name)
        return
    sound = read_audio(CLIPS / name)
    assert len(sound) / 16000 == pytest.approx(info.duration_s, abs=0.5)
    assert 0.01 < np.abs(sound).max() <= 1
