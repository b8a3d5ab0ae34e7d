"""Training without workers: a decoder that crashes the process leaves the name of its sample to `--resume`."""

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
    """Heeds what earlier processes of a run left in its folder, and leaves the same while entered.

    The sample that such a process was decoding when it ended is tried in a worker process: it may have been killed for
    another reason. Samples of `fetchers` with workers need none of this.
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
    """Decodes samples in a worker process; `fetcher` gives up those that crash it."""
    trial = fetcher.fresh(num_workers=1)
    for index in indices:
        keys: list[list[Key]] = [[(0, index)]]
        for _ in Stream(trial, lambda first, keys=keys: keys, num_batches=1):  # type: ignore[misc]
            pass
