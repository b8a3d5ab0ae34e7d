"""Workers that crash, wait or fail end their own request only; the places in the queue are bounded."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

import pytest

from tests.serve import parts
from tests.serve.conftest import LIMITS
from videozoo.predict.session import Request
from videozoo.serve.pool import Task
from videozoo.serve.refusal import Refusal
from videozoo.serve.service import Service, Slots
from videozoo.serve.settings import Settings
from videozoo.serve.worker import Job


def job(root, name, *, model="odd"):
    return Job(str(root / name), name, model, Request())


def refusal_of(service, asked):
    with pytest.raises(Refusal) as caught:
        service.submit(asked).answer.result(30)
    return caught.value


def restarts(service):
    return service.metrics.registry.get_sample_value("videozoo_worker_restarts_total")


def test_a_crash_ends_only_its_own_request(service, root):
    before = restarts(service)
    crash, good = service.submit(job(root, "crash.mp4")), service.submit(job(root, "inner/clip.mp4"))
    with pytest.raises(Refusal) as caught:
        crash.answer.result(30)
    assert caught.value.message == "crash.mp4: it crashed the decoder (signal 11, SIGSEGV); send another file"
    assert caught.value.status == 415
    assert b'"labels"' in good.answer.result(30)
    for _ in range(4):  # every worker answers again
        assert b'"labels"' in service.submit(job(root, "inner/clip.mp4")).answer.result(30)
    assert restarts(service) == before + 1


def test_a_worker_that_exits_is_a_fault_of_the_server(service, root, caplog):
    refusal = refusal_of(service, job(root, "exit.mp4"))
    assert (refusal.status, refusal.kind) == (500, "internal")
    assert "ended with status 3" in caplog.text


def test_a_fault_of_a_worker_is_logged_and_the_worker_stays(service, root, caplog):
    before = restarts(service)
    refusal = refusal_of(service, job(root, "fault.mp4"))
    assert (refusal.status, refusal.kind) == (500, "internal") and "pipeline" not in refusal.message
    assert "a fault of the pipeline" in caplog.records[-1].fields["error"]
    assert restarts(service) == before


def test_a_file_that_needs_too_much_memory(service, root):
    before = restarts(service)
    refusal = refusal_of(service, job(root, "memory.mp4"))
    assert (refusal.status, refusal.kind) == (422, "limit")
    assert restarts(service) == before


def test_a_network_that_fails_fails_its_request(service, root, caplog):
    with pytest.raises(RuntimeError, match="the accelerator is gone"), caplog.at_level(logging.CRITICAL):
        service.submit(job(root, "inner/clip.mp4", model="failing")).answer.result(30)
    assert b'"labels"' in service.submit(job(root, "inner/clip.mp4")).answer.result(30)


@pytest.fixture(scope="module")
def hasty(root):
    """A service with one worker that takes at most a second for an answer."""
    limits = dataclasses.replace(LIMITS, time_s=1.0)
    networks = {name: parts.networks()[name] for name in ("odd", "grays")}
    with Service(networks, Settings(limits, root=root, num_workers=1, queue=1)) as service:
        yield service


def test_the_time_limit_ends_the_work(hasty, root):
    (worker,) = _pids(hasty)
    waits, queued = hasty.submit(job(root, "wait.mp4")), hasty.submit(job(root, "wait.mp4"))
    for task in (waits, queued):  # the second one waits for the worker until its own time is over
        with pytest.raises(Refusal, match="takes longer than the time limit") as caught:
            task.answer.result(30)
        assert (caught.value.status, caught.value.kind) == (504, "time")
    assert b'"labels"' in hasty.submit(job(root, "inner/clip.mp4")).answer.result(30)
    assert _pids(hasty) != [worker] and not _is_running(worker)


def test_work_that_nobody_waits_for_ends(hasty, root):
    (worker,) = _pids(hasty)
    task = Task(job(root, "wait.mp4"), ends_s=time.monotonic() + 600)
    hasty._pool.submit(task)
    while not task.answer.running():
        pass
    task.is_dropped.set()
    with pytest.raises(Refusal, match="the client has closed"):
        task.answer.result(30)
    assert not _is_running(worker)


def _pids(service):
    """The workers of a service, as they say in their next answer."""
    return [worker.pid for worker in service._pool.workers]


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_slots_are_bounded():
    slots = Slots(2)
    with slots.one(), slots.one():
        with pytest.raises(Refusal) as caught, slots.one():
            pass
        assert caught.value.status == 429 and caught.value.headers == {"Retry-After": "1"}
        assert slots.are_full and slots.taken == 2
    assert slots.taken == 0


def test_slots_are_given_back_after_an_error():
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="inside"), slots.one():
            raise ValueError("inside")
    assert slots.taken == 0


def test_closing_finishes_the_work(root):
    service = Service({"odd": parts.networks()["odd"]}, Settings(LIMITS, root=root, num_workers=1))
    tasks = [service.submit(job(root, "inner/clip.mp4")) for _ in range(5)]
    closing = threading.Thread(target=service.close)
    closing.start()
    assert all(b'"labels"' in task.answer.result(30) for task in tasks)
    closing.join(30)
    assert not closing.is_alive() and not service.uploads.path.exists()
    with pytest.raises(Refusal, match="the server is stopping"):
        service.check_open()
