"""Decoder crashes in training without workers: `--resume` skips the samples that crashed the process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from videozoo.engine.crash_file import CrashFile
from videozoo.engine.distributed import World
from videozoo.engine.fetch import Fetcher, Key
from videozoo.engine.run_files import RunFiles
from videozoo.engine.stream import Stream

__all__ = ["surviving_crashes", "try_out"]


@contextlib.contextmanager
def surviving_crashes(fetchers: Mapping[str, Fetcher], files: RunFiles, *, world: World) -> Iterator[None]:
    """Skips the samples that crashed earlier processes of a run, and records the sample being decoded while entered.

    The sample that was being decoded when a process ended is tried once in a worker process, because the process may
    have been killed for another reason. Fetchers with workers do not need this.
    """
    alone = {split: fetcher for split, fetcher in fetchers.items() if not fetcher.num_workers}
    with contextlib.ExitStack() as stack:
        for split, fetcher in alone.items():
            suspects, crashed = world.from_first(_left_by_earlier(files, split) if world.is_first else None)
            fetcher.given_up |= {index: fetcher.crashed(index) for index in crashed if index < len(fetcher.records)}
            try_out(fetcher, (index for index in suspects if index < len(fetcher.records)))
            fetcher.crash_file = CrashFile(files.crash_file(split, world.rank), fetcher.given_up)
            stack.callback(fetcher.crash_file.close)
        yield


def _left_by_earlier(files: RunFiles, split: str) -> tuple[set[int], set[int]]:
    paths = files.crash_files(split)
    found = CrashFile.read(paths)
    for path in paths:
        path.unlink(missing_ok=True)
    return found


def try_out(fetcher: Fetcher, indices: Iterable[int]) -> None:
    """Decodes samples in a worker process; `fetcher` then skips those that crash it."""
    trial = fetcher.fresh(num_workers=1)
    for index in indices:
        keys: list[list[Key]] = [[(0, index)]]
        for _ in Stream(trial, lambda first, keys=keys: keys, num_batches=1):  # type: ignore[misc]
            pass
