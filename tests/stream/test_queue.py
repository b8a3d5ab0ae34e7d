from __future__ import annotations

import threading

import pytest

from videozoo.errors import DataError
from videozoo.stream.queue import FrameQueue
from videozoo.stream.source import Frame


def frame(number: int) -> Frame:
    return Frame(float(number), 0.0, None, None)


def test_a_full_queue_drops_the_oldest_and_counts():
    queue = FrameQueue(3, drops=True)
    for number in range(10):
        queue.put(frame(number))
    queue.close()
    assert [queue.get().time_s for _ in range(3)] == [7, 8, 9]
    assert queue.dropped_frames == 7
    assert queue.get() is None
    assert queue.is_done


def test_a_queue_that_waits_loses_nothing():
    queue = FrameQueue(2, drops=False)

    def fill():
        for number in range(50):
            queue.put(frame(number))
        queue.close()

    thread = threading.Thread(target=fill)
    thread.start()
    found = []
    while (taken := queue.get()) is not None:
        found.append(taken.time_s)
    thread.join()
    assert found == list(range(50))
    assert queue.dropped_frames == 0


def test_closing_frees_a_waiting_thread():
    queue = FrameQueue(1, drops=False)
    queue.put(frame(0))
    thread = threading.Thread(target=queue.put, args=(frame(1),))
    thread.start()
    queue.close()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_an_error_comes_after_the_last_frame():
    queue = FrameQueue(2, drops=True)
    queue.put(frame(0))
    queue.close(DataError("x: is broken; mend it"))
    assert queue.get().time_s == 0
    with pytest.raises(DataError, match="x: is broken"):
        queue.get()


def test_a_silent_queue_is_not_done():
    queue = FrameQueue(2, drops=True)
    assert queue.get(timeout_s=0.001) is None
    assert not queue.is_done
