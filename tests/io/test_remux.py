import av
import numpy as np
import pytest

from videozoo.errors import DataError, DecodeError
from videozoo.io.audio import read_audio
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.remux import add_sound

RATE_HZ = 16000


def frames(count, grey=100):
    return np.full((count, 32, 32, 3), grey, np.uint8)


@pytest.fixture
def sounding(tmp_path):
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE_HZ).astype(np.float32)
    path = tmp_path / "sounding.mp4"
    write_video(path, frames(20, 20), fps=10, audio=signal, audio_rate_hz=RATE_HZ)
    return path


@pytest.fixture
def silent(tmp_path):
    path = tmp_path / "silent.mp4"
    write_video(path, frames(20, 200), fps=10)
    return path


def test_pictures_of_one_with_the_sound_of_the_other(silent, sounding, tmp_path):
    out = tmp_path / "out.mp4"
    add_sound(silent, sounding, out)
    with open_video(out) as found, open_video(silent) as expected:
        assert found.info.audio_rate_hz == RATE_HZ
        times_s = [0.0, 0.55, 1.95]
        assert np.array_equal(found.frames_at(times_s).data, expected.frames_at(times_s).data)
    before, after = (read_audio(path, rate_hz=RATE_HZ) for path in (sounding, out))
    np.testing.assert_array_equal(before, after)


def test_packets_of_both_lie_side_by_side(silent, sounding, tmp_path):
    out = tmp_path / "out.mp4"
    add_sound(silent, sounding, out)
    with av.open(str(out)) as container:
        times_s = [float(p.dts * p.time_base) for p in container.demux() if p.dts is not None]
    assert (np.diff(times_s) > -0.5).all()  # a player reads from one place


def test_sound_before_the_first_picture_is_left_out(silent, sounding, tmp_path):
    out = tmp_path / "out.mp4"
    add_sound(silent, sounding, out, start_s=1.024)  # a whole number of AAC packets
    before, after = (read_audio(path, rate_hz=RATE_HZ) for path in (sounding, out))
    shift = round(1.024 * RATE_HZ)
    np.testing.assert_allclose(after[4096:12000], before[shift + 4096 : shift + 12000], atol=1e-4)


def test_errors_leave_nothing_behind(silent, sounding, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(DataError, match=r"silent\.mp4: has no audio stream to add"):
        add_sound(silent, silent, folder / "a.mp4")
    with pytest.raises(DecodeError, match="there is no such file"):
        add_sound(silent, tmp_path / "gone.mp4", folder / "a.mp4")
    with pytest.raises(DataError, match=r"a\.webm: cannot copy the audio of .*sounding\.mp4"):
        add_sound(silent, sounding, folder / "a.webm")
    assert list(folder.iterdir()) == []
