"""Reads structured files from any source (JSON, YAML, CSV, plain text) at bounded cost.

All readers of such files use this module. A damaged or hostile file thus raises the caller's error class with a single
line, whatever the parser raises: no traceback, no endless wait for a pipe, no message of a million digits.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import json
import os
import reprlib
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from videozoo.errors import DataError, VideoZooError

__all__ = [
    "checked",
    "parse_json",
    "parse_yaml",
    "read_json",
    "read_lines",
    "read_rows",
    "read_text",
    "read_yaml",
    "reading",
    "reason",
    "regular_file",
    "shown",
]

DELIMITERS = ",;\t"  # of CSV files; the most frequent one in the header is used
MAX_TEXT_BYTES = 1 << 30  # the largest published annotation files have a few hundred megabytes
MAX_YAML_BYTES = 1 << 20  # a recipe; PyYAML reads about 100 kB a second
MAX_YAML_NODES = 200_000  # every use of an alias counts
MAX_DEPTH = 60
MAX_NUMBER_CHARS = 40
MAX_PATH_CHARS = 400
MAX_REASON_CHARS = 200
MAX_SHOWN_CHARS = 120
NOT_FILES = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)

Shape = TypeVar("Shape")
Error = type[VideoZooError]


# ---- messages ----------------------------------------------------------------------------------------------


class _Short(reprlib.Repr):
    """`repr` with bounded cost and length for any value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple = 3, 6, 6, 6
        self.maxstring = self.maxother = MAX_SHOWN_CHARS

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 128:  # `repr` refuses 5,000 digits, and is slow below that
            return f"a whole number of about {int(value.bit_length() * 0.30103) + 1:,} digits"
        return repr(value)

    def repr_bytes(self, value: bytes, level: int) -> str:
        return self.repr_instance(value[: self.maxother], level)


_short = _Short()


def shown(value: object) -> str:
    """Returns `repr(value)` for a message: one short line, fast for any value."""
    return _cut(_short.repr(value), MAX_SHOWN_CHARS)


def reason(error: BaseException) -> str:
    """Returns the reason of an error for a message: one line, short, without control characters."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, KeyError) and error.args:
        return f"{shown(error.args[0])} is missing"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _cut(" ".join(text.split()).rstrip("."), MAX_REASON_CHARS) or type(error).__name__


def _cut(text: str, max_chars: int) -> str:
    text = text if len(text) <= max_chars else f"{text[: max_chars - 3]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# ---- boundaries --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(where: str | os.PathLike[str], *, advice: str, error: Error = DataError) -> Iterator[None]:
    """Turns every exception of a parser into one line about `where`; put only the parser's calls inside.

    Damaged files make the layers of a parser fail in many ways (RecursionError, struct.error, TokenError,
    DecompressionBombError, a KeyError of a missing field), so no list of exception classes would be complete.
    """
    try:
        yield
    except (VideoZooError, ImportError):
        raise
    except Exception as problem:
        raise error(f"{_shortened_path(where)}: cannot be read ({reason(problem)}); {advice}") from problem


def regular_file(path: str | os.PathLike[str], *, kind: str = "file", error: Error = DataError) -> Path:
    """Returns `path` if it is a regular file; reading a pipe would block, and a device never ends.

    Raises:
        DataError (or `error`): the path does not exist, or is a folder, a pipe, a socket or a device.
    """
    where = _shortened_path(path)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (before the path is trusted)
    except FileNotFoundError as problem:
        raise error(f"{where}: there is no such {kind}; correct the path") from problem
    except (OSError, ValueError) as problem:  # ValueError: a null byte
        raise error(f"{where}: cannot be opened ({reason(problem)}); correct the path") from problem
    if not stat.S_ISREG(mode):
        found = next((name for is_kind, name in NOT_FILES if is_kind(mode)), "special file")
        raise error(f"{where}: is a {found}; give the path of a {kind}")
    return Path(path)


def checked(
    value: object, shape: type[Shape], *, where: str | os.PathLike[str], advice: str, error: Error = DataError
) -> Shape:
    """Returns `value` as `shape`, a type of plain values such as a TypedDict; pydantic checks and converts it.

    Raises:
        DataError (or `error`): a field is missing or has a wrong type; the message names it with its value.
    """
    try:
        found: Shape = _adapter(shape).validate_python(value)  # type: ignore[arg-type]
        return found
    except pydantic.ValidationError as problems:
        first = problems.errors(include_url=False)[0]
        at = "".join(f"{_cut(str(step), MAX_SHOWN_CHARS)}: " for step in first["loc"])
        problem = first["msg"][:1].lower() + first["msg"][1:]
        got = "" if first["type"] == "missing" else f", got {shown(first['input'])}"
        raise error(f"{_shortened_path(where)}: {at}{_cut(problem, MAX_REASON_CHARS)}{got}; {advice}") from problems


@functools.lru_cache(maxsize=64)
def _adapter(shape: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(shape)


# ---- text --------------------------------------------------------------------------------------------------


def read_text(
    path: str | os.PathLike[str], *, kind: str = "file", max_bytes: int = MAX_TEXT_BYTES, error: Error = DataError
) -> str:
    """Reads a file of UTF-8 text, with or without a byte order mark.

    Raises:
        DataError (or `error`): the file does not exist, is not a regular file, is too large, or is not UTF-8.
    """
    where = _shortened_path(path)
    try:
        with regular_file(path, kind=kind, error=error).open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, MemoryError) as problem:
        raise error(f"{where}: cannot be read ({reason(problem)}); check its permissions") from problem
    if len(data) > max_bytes:
        raise error(f"{where}: is longer than {max_bytes:,} bytes, the limit for a {kind}; correct the path")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise error(f"{where}:{line}: is not UTF-8 text (it has a null byte); save the {kind} as UTF-8")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise error(f"{where}:{line}: is not UTF-8 text ({problem.reason}); save the {kind} as UTF-8") from problem


def read_lines(path: str | os.PathLike[str], *, kind: str = "file", error: Error = DataError) -> list[tuple[str, str]]:
    """Reads (`"file:line"`, text) of each line, stripped, without blank lines and those that begin with `#`."""
    where = _shortened_path(path)
    lines = enumerate(read_text(path, kind=kind, error=error).split("\n"), 1)
    stripped = ((f"{where}:{number}", line.strip()) for number, line in lines)
    return [(at, line) for at, line in stripped if line and not line.startswith("#")]


def read_rows(
    path: str | os.PathLike[str], *, kind: str = "file", columns: tuple[str, ...] = (), error: Error = DataError
) -> list[tuple[str, dict[str, str]]]:
    """Reads (`"file:line"`, cells by column) of each row of a CSV file below its header; missing cells are empty.

    Args:
        columns: required columns.

    Raises:
        DataError (or `error`): see `read_text`; or the file is not CSV, lacks a column, or has a row with more cells
        than
            the header.
    """
    where = _shortened_path(path)
    lines = read_text(path, kind=kind, error=error).splitlines(keepends=True)
    delimiter = max(DELIMITERS, key=lines[0].count) if lines else ","
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    with reading(where, advice=f"save the {kind} as CSV again", error=error):
        header = [name.strip() for name in next(rows, [])]
        body = [(rows.line_num, row) for row in rows if any(row)]
    if missing := [name for name in columns if name not in header]:
        raise error(f"{where}: has no column '{missing[0]}', only {shown(header)}; add {', '.join(missing)}")
    for number, row in body:
        if any(row[len(header) :]):
            raise error(
                f"{where}:{number}: has {len(row)} cells for {len(header)} columns; quote cells with {delimiter!r}"
            )
    return [
        (f"{where}:{number}", dict(itertools.zip_longest(header, row[: len(header)], fillvalue="")))
        for number, row in body
    ]


# ---- JSON --------------------------------------------------------------------------------------------------


def read_json(
    path: str | os.PathLike[str],
    *,
    kind: str = "file",
    advice: str = "fetch the file again",
    max_bytes: int = MAX_TEXT_BYTES,
    error: Error = DataError,
) -> Any:
    """Reads a JSON file.

    Raises:
        DataError (or `error`): as `read_text`, or as `parse_json`.
    """
    text = read_text(path, kind=kind, max_bytes=max_bytes, error=error)
    return parse_json(text, where=path, advice=advice, error=error)


def parse_json(
    text: str | bytes,
    *,
    where: str | os.PathLike[str],
    advice: str = "fetch the file again",
    error: Error = DataError,
) -> Any:
    """Parses JSON with integers of at most 40 digits and at most 60 levels of nesting.

    Raises:
        DataError (or `error`): the text is not JSON, or exceeds these limits.
    """
    try:
        found = json.loads(text, parse_int=_whole_number)
        _check_depth(found)
    except json.JSONDecodeError as problem:
        raise error(f"{_shortened_path(where)}:{problem.lineno}: is not JSON ({problem.msg}); {advice}") from problem
    except (ValueError, RecursionError, MemoryError) as problem:  # ValueError: not UTF-8, a number of 10**6 digits
        raise error(f"{_shortened_path(where)}: is not JSON ({reason(problem)}); {advice}") from problem
    return found


def _whole_number(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError(f"it has a number of {len(text):,} digits")
    return int(text)


def _check_depth(value: object) -> None:
    """Refuses values nested too deeply for later recursion (a copy, a comparison, a check); it iterates by level."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for node in level:
            if isinstance(node, dict):
                inner += [child for child in node.values() if isinstance(child, dict | list)]
            elif isinstance(node, list):
                inner += [child for child in node if isinstance(child, dict | list)]
        if not inner:
            return
        level = inner
    raise RecursionError


# ---- YAML --------------------------------------------------------------------------------------------------


def read_yaml(path: str | os.PathLike[str], *, kind: str = "file", error: Error = DataError) -> Any:
    """Reads a YAML file.

    Raises:
        DataError (or `error`): as `read_text`, or as `parse_yaml`.
    """
    text = read_text(path, kind=kind, max_bytes=MAX_YAML_BYTES, error=error)
    return parse_yaml(text, where=path, error=error)


def parse_yaml(
    text: str, *, where: str | os.PathLike[str], advice: str = "check its indentation", error: Error = DataError
) -> Any:
    """Parses YAML into plain values; limits the expanded size of aliases and refuses duplicate keys.

    Raises:
        DataError (or `error`): the text is not YAML, or exceeds these limits.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count_nodes(node, {})
            found = loader.construct_document(node)
            _check_depth(found)
            return found
        finally:
            loader.dispose()
    except VideoZooError as problem:
        raise error(f"{_shortened_path(where)}: {problem}") from None
    except Exception as problem:  # PyYAML's constructors raise any exception of the constructed types
        raise error(f"{_shortened_path(where)}: is not YAML ({reason(problem)}); {advice}") from problem


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with dates as text: no option is a date, and a folder may be named like one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own)
        first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _refuse_bare_keys(node: yaml.MappingNode) -> None:
    """Refuses a key without a value in braces: `{a:b}` is the single key 'a:b', nearly always for want of a space."""
    for key, value in node.value:
        if isinstance(value, yaml.ScalarNode) and not value.value and value.style is None:
            form = str(key.value).replace(":", ": ", 1) if ":" in str(key.value) else f"{key.value}: value"
            raise DataError(
                f"line {node.start_mark.line + 1}: the key {shown(key.value)} has no value; "
                f"write {shown(form)}, with a space after the colon"
            )


def _count_nodes(node: yaml.Node, counts: dict[int, int]) -> int:
    """Counts a node and its descendants, every use of an alias included; refuses duplicate keys and endless numbers.

    `counts` holds the finished nodes by identity. A node in progress counts as too many, so a node that contains itself
    is refused, too.
    """
    if id(node) in counts:
        return counts[id(node)]
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float", "timestamp") and len(node.value) > MAX_NUMBER_CHARS:
            raise ValueError(f"line {line} has a number of {len(node.value):,} digits")
        return 1
    counts[id(node)] = MAX_YAML_NODES + 1
    children = node.value
    if isinstance(node, yaml.MappingNode):
        if node.flow_style:
            _refuse_bare_keys(node)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, number in keys.items():  # PyYAML silently keeps the last one
            if number > 1:
                raise DataError(f"line {line}: the key {shown(key)} is given twice; keep one")
        children = [child for pair in node.value for child in pair]
    count = 1
    for child in children:
        count += _count_nodes(child, counts)
        if count > MAX_YAML_NODES:
            raise ValueError(f"its aliases expand to more than {MAX_YAML_NODES:,} values")
    counts[id(node)] = count
    return count


def _shortened_path(path: str | os.PathLike[str]) -> str:
    text = os.fsdecode(path)
    return text if len(text) <= MAX_PATH_CHARS else f"{text[:MAX_PATH_CHARS]}..."
