"""The files of a run (recipe, log, checkpoints, list of bad samples) and the lock on its folder."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from videozoo.engine.distributed import World
from videozoo.engine.fetch import Bad
from videozoo.engine.log import RunLog
from videozoo.errors import ConfigError, TrainingError, WeightsError
from videozoo.io.lock import LOCK_NAME, locked
from videozoo.io.whole_file import write_whole_text
from videozoo.weights import checkpoint

__all__ = ["RunFiles", "claim", "claimed", "in_use", "write_recipe"]

BEFORE_THE_FIRST_STEP = ("recipe.yaml", "log.jsonl", "bad_files.txt", "tb", "wandb", "mlflow_run_id")


def in_use(out_dir: Path) -> str | None:
    """Returns the reason why `out_dir` cannot hold a new run, or None if it can."""
    if out_dir.exists() and not out_dir.is_dir():
        return f"{out_dir}: is a file; give a folder for the run as --out"
    if out_dir.is_dir() and any(path.name != LOCK_NAME for path in out_dir.iterdir()):
        return f"{out_dir}: is not empty; continue that run with --resume, or give another --out"
    return None


@contextlib.contextmanager
def claimed(out_dir: Path, *, world: World, resume: bool) -> Iterator[None]:
    """Locks the folder of a run against other runs; all processes of this run call it.

    Raises:
        ConfigError: another run writes to the folder, it is not empty and `resume` is false, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        problem = claim(out_dir, stack, resume=resume) if world.is_first else None
        if problem := world.from_first(problem):
            raise ConfigError(problem)
        yield


def claim(out_dir: Path, stack: contextlib.ExitStack, *, resume: bool) -> str | None:
    """Enters the lock of a run's folder into `stack`, or returns the reason why the run cannot use the folder."""
    problem = in_use(out_dir)
    if problem is not None and not (resume and out_dir.is_dir()):
        return problem
    try:
        stack.enter_context(locked(out_dir))
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"{out_dir}: cannot be written ({error}); give another --out"
    return None


def write_recipe(out_dir: Path, record: Mapping[str, Any]) -> None:
    """Writes the resolved recipe of a run.

    Raises:
        ConfigError: the file cannot be written.
    """
    text = yaml.dump(dict(record), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    write_whole_text(out_dir / "recipe.yaml", text, error=ConfigError)


class _Dumper(yaml.SafeDumper):
    """Writes lists of numbers in rows, since the mean of features has thousands."""


def _list_in_rows(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    numbers = all(isinstance(value, int | float) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=numbers)


_Dumper.add_representer(list, _list_in_rows)


class RunFiles:
    """The files of a run's folder; only the first process writes them.

    Args:
        record: the resolved recipe; stored in every checkpoint.
        extras: stored unchanged in every checkpoint (e.g. the extractor of a model on features).
        keep: number of older checkpoints kept as step_N.pt.
        writes: whether this process is the first.
    """

    def __init__(
        self,
        out_dir: Path,
        *,
        record: Mapping[str, Any],
        extras: Mapping[str, Any] | None = None,
        keep: int = 0,
        writes: bool = True,
    ):
        self.out_dir, self.record, self.extras = out_dir, record, dict(extras or {})
        self.keep, self.writes = keep, writes
        self.saved_step: int | None = None
        self._log: RunLog | None = None

    @property
    def last(self) -> Path:
        """The checkpoint from which a run resumes."""
        return self.out_dir / "last.pt"

    @property
    def advice(self) -> str:
        """Advice on continuing after a failure."""
        if self.saved_step is None:
            return "no checkpoint was saved yet, --resume starts from the beginning"
        return f"continue with --resume from {self.last} (step {self.saved_step})"

    # ---- checkpoints ---------------------------------------------------------------------------------------

    def save_best(self, step: int, content: Mapping[str, Any]) -> None:
        """Writes best.pt, which evaluation and prediction load."""
        self._save(step, "best.pt", content)

    def save_last(self, step: int, content: Mapping[str, Any]) -> None:
        """Writes last.pt, from which a run resumes, and keeps the latest `keep` checkpoints as step_N.pt."""
        self._save(step, self.last.name, content)
        self.saved_step = step
        if self.keep and self.writes:
            with self._stopping(step, "the older checkpoints"):
                self._keep(step)

    def _save(self, step: int, name: str, content: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        try:
            checkpoint.write(self.out_dir / name, {"record": dict(self.record), **content, "step": step, **self.extras})
        except WeightsError as error:
            raise TrainingError(f"step {step}: {error}; {self.advice}") from error

    def _keep(self, step: int) -> None:
        """Keeps last.pt as step_N.pt, and only the newest of those files."""
        kept = self.out_dir / f"step_{step:08}.pt"
        kept.unlink(missing_ok=True)
        try:
            os.link(self.last, kept)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.last, kept)
        for old in sorted(self.out_dir.glob("step_*.pt"))[: -self.keep]:
            old.unlink()

    # ---- the log -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def logging(self, step: int, *, sinks: Sequence[str] = ()) -> Iterator[None]:
        """Opens the log, truncated after `step`, and closes it at the end.

        Raises:
            TrainingError: the log cannot be written.
        """
        if not self.writes:
            yield
            return
        with self._stopping(step, f"the log in {self.out_dir}"):
            self._log = RunLog(self.out_dir, step=step, sinks=sinks, record=self.record)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # the error that stopped the run matters more
                self._log.close()
            raise
        else:
            with self._stopping(self.saved_step or step, f"the log in {self.out_dir}"):
                self._log.close()
        finally:
            self._log = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values of a step to the log."""
        if self._log is not None:
            with self._stopping(step, f"the log in {self.out_dir}"):
                self._log.write(step, values)

    def picture(self, step: int, name: str, draw: Callable[[], Image.Image | None]) -> None:
        """Sends a picture to the log's sinks; without sinks it is not drawn."""
        if self._log is not None:
            with self._stopping(step, f"the log in {self.out_dir}"):
                self._log.picture(step, name, draw)

    @property
    def shows_pictures(self) -> bool:
        """Whether a sink of this process shows pictures."""
        return self._log is not None and self._log.shows_pictures

    # ---- lists ---------------------------------------------------------------------------------------------

    @property
    def bad_list(self) -> Path:
        """The file that lists unusable training samples."""
        return self.out_dir / "bad_files.txt"

    def write_bad(self, bad: Iterable[Bad]) -> None:
        """Writes the unusable samples with their reasons, one a line."""
        lines = "".join(f"{id_}\t{why}\n" for id_, why in bad)
        if self.writes and (lines or self.bad_list.is_file()):
            write_whole_text(self.bad_list, lines, error=TrainingError)

    def crash_file(self, split: str, rank: int) -> Path:
        """Returns the file in which a process without workers records the sample being decoded."""
        return self.out_dir / f".decoding.{split}.{rank}"

    def crash_files(self, split: str) -> list[Path]:
        """Returns the files of `crash_file` that earlier processes left."""
        return sorted(self.out_dir.glob(f".decoding.{split}.*"))

    def clear(self) -> None:
        """Removes the files that a run writes before its first step, and the folder if it is then empty."""
        if not self.writes:
            return
        for name in (*BEFORE_THE_FIRST_STEP, *(path.name for path in self.out_dir.glob(".decoding.*"))):
            path = self.out_dir / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.out_dir.rmdir()

    @contextlib.contextmanager
    def _stopping(self, step: int, thing: str) -> Iterator[None]:
        """Turns a failure to write into a TrainingError."""
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"step {step}: {thing} cannot be written ({error}); free some space; {self.advice}"
            ) from error
