"""`videozoo predict` of stored features by the shard: YouTube-8M's TFRecords, or PaddleVideo's pickles of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videozoo.contracts.answer import Labels
    from videozoo.predict.predictor import Predictor

__all__ = ["find_records", "predict_records"]

SHARDS = ("*.tfrecord", "*.tfrecord.gz")
PICKLES = ("*.pkl",)
MOST_ROWS = 50  # of the table; files hold them all
FORMATS = ("json", "kaggle")


def find_records(sources: Sequence[str]) -> list[Any] | None:
    """The data sets that the sources name, or None where they are no shards.

    A shard is named by its own path, by its folder, by a pattern, or by a list file whose first line is one.
    """
    from videozoo.data.youtube8m import youtube8m
    from videozoo.data.youtube8m_pkl import youtube8m_pkl

    found: list[Any] = []
    for source in sources:
        if _names(source, SHARDS):
            found.append(youtube8m(source))
        elif _names(source, PICKLES):
            found.append(youtube8m_pkl(source))
        else:
            return None
    return found or None


def _names(source: str, patterns: Sequence[str]) -> bool:
    path = Path(source)
    if path.is_dir():
        return any(next(path.glob(pattern), None) is not None for pattern in patterns)
    name = path.name
    if path.is_file() and path.suffix in (".list", ".txt"):
        with path.open(encoding="utf-8", errors="replace") as file:
            name = file.readline().strip()
    return name.endswith(tuple(pattern.removeprefix("*") for pattern in patterns))


def predict_records(
    predictor: Predictor,
    run: str,
    datasets: Sequence[Any],
    *,
    top: int,
    format: str | None,
    out: Path | None,
    batch_size: int,
) -> bool:
    """Prints or writes the labels of every video, as they come; False if some could not be read.

    Raises:
        ConfigError: no such format, or a run that does not tag features.
    """
    import itertools

    from videozoo.errors import counted
    from videozoo.predict.feature_shards import KAGGLE_HEADER, kaggle_line, label_records
    from videozoo.terminal import console

    format = _format(format, out)
    failed: list[tuple[str, str]] = []

    def answers() -> Iterator[tuple[str, Labels]]:
        for id_, answer in label_records(predictor, itertools.chain(*datasets), batch_size=batch_size):
            if isinstance(answer, Exception):
                failed.append((id_, str(answer)))
            else:
                yield id_, answer

    if format is None:
        _print(console(), answers(), top)
    elif format == "kaggle":
        _write(itertools.chain([KAGGLE_HEADER], (kaggle_line(*answer) for answer in answers())), out)
    else:
        _write(_json_lines(run, answers(), failed, top), out)
    if failed:
        notes = console(stderr=True)
        notes.print(f"{counted(len(failed), 'video')} failed:", style="red")
        for _, reason in failed:
            notes.print(f"  {reason}", soft_wrap=True)
    return not failed


def _format(name: str | None, out: Path | None) -> str | None:
    from videozoo.errors import ConfigError, did_you_mean

    if name is None and out is not None:
        name = {".json": "json", ".csv": "kaggle"}.get(out.suffix.lower())
        if name is None:
            raise ConfigError(f"--out: {out} ends in neither .json nor .csv (Kaggle's form); or say --format")
    if name is not None and name not in FORMATS:
        raise ConfigError(f"--format: of features there is no '{name}'{did_you_mean(name, FORMATS)}")
    return name


def _json_lines(
    run: str, answers: Iterator[tuple[str, Labels]], failed: list[tuple[str, str]], top: int
) -> Iterator[str]:
    """One JSON text, a line a video."""
    import json

    yield '{"run": ' + json.dumps(run) + ', "predictions": ['
    comma, problem = "", None
    try:
        for id_, labels in answers:
            yield comma + json.dumps({"id": id_, **labels.to_dict(top=top)}, ensure_ascii=False)
            comma = ","
    except Exception as error:  # what was answered so far is whole JSON, then the error goes on
        problem = error
    yield '], "failed": ' + json.dumps([{"id": id_, "error": reason} for id_, reason in failed]) + "}"
    if problem is not None:
        raise problem


def _write(lines: Iterator[str], out: Path | None) -> None:
    """Prints the lines as they come, or writes them to a file, which also appears where an error ends them."""
    from videozoo.io.whole_file import whole_file
    from videozoo.terminal import write_json

    if out is None:
        for line in lines:
            write_json(f"{line}\n")
        return
    problem = None
    with whole_file(out) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        while True:
            try:
                file.write(next(lines) + "\n")
            except StopIteration:
                break
            except Exception as error:  # of the answers or of the disk; the latter shows again when the file is closed
                problem = error
                break
    if problem is not None:
        raise problem


def _print(stdout: Any, answers: Iterator[tuple[str, Labels]], top: int) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("video", "labels", box=box.SIMPLE_HEAD, show_edge=False)
    count = 0
    for count, (id_, labels) in enumerate(answers, start=1):
        if count <= MOST_ROWS:
            table.add_row(Text(id_), Text(", ".join(f"{name} {score:.0%}" for name, score in labels.top(top))))
    stdout.print(table)
    if count > MOST_ROWS:
        more = f"and {count - MOST_ROWS} more; write them all with --out answers.json or --out submission.csv"
        stdout.print(more, style="dim")
