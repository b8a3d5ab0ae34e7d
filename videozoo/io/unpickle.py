"""Reads pickles of arrays with an interpreter that calls only its own functions.

A `.pdparams` file is a pickle, and a pickle is a program: it may call any function, set attributes of the results,
compute hashes endlessly or request any amount of memory. `pickle.Unpickler` runs such programs in C, and a check of
names alone prevents only the first. `PickleReader` therefore runs only the few opcodes of arrays and their containers,
on values that the file cannot change: a name is a pair of strings, an array is created once its shape, type and
contents agree, keys are plain, depth is limited, and memory is limited by the file's size.
"""

from __future__ import annotations

import codecs
import collections
import dataclasses
import itertools
import math
import os
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np

from videozoo.errors import WeightsError
from videozoo.structured import reason, regular_file, shown

__all__ = ["DAMAGE", "Global", "Opaque", "PickleReader", "PickleRefused", "kind_of", "open_weights", "unpickle_arrays"]

MAX_DEPTH = 64  # nesting of containers
MAX_DIMS = 32
MAX_INT_BYTES = 255
MAX_LINE_CHARS = 1000  # of a number or a name, in the line-based protocols
SPARE_BYTES = 64 << 20  # memory allowed for any file, however short
SPARE_VALUES = 1 << 16
BYTES_PER_BYTE = 24  # memory per byte of the file: containers and numbers, not arrays
SHARED_TIMES = 4  # largest number of references to a file's bytes, e.g. by tied weights
PLAIN_KEYS = (str, bytes, int, float, bool)
MAX_KEY = 1 << 60  # larger integers can be chosen to collide in their hash
DTYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU]\d{1,9})")
DO_NOT_TRUST = "do not trust this file"
OPCODES = {opcode.code.encode("latin1"): opcode.name for opcode in pickletools.opcodes}
DAMAGE = (LookupError, ValueError, TypeError, OverflowError, EOFError, MemoryError, struct.error)


class PickleRefused(Exception):
    """A pickle requests an operation that no array needs; the message has no path, which the caller adds."""


def unpickle_arrays(path: str | os.PathLike[str]) -> Any:
    """Returns the containers, numbers, strings and numpy arrays in a pickle. Arrays may be read-only.

    Raises:
        WeightsError: the file requests anything else, or is not a complete pickle.
    """
    with open_weights(path) as file:
        try:
            return PickleReader(file, os.fstat(file.fileno()).st_size).load()
        except PickleRefused as error:
            raise WeightsError(f"{path}: {error}; {DO_NOT_TRUST}") from error
        except DAMAGE as error:
            raise WeightsError(f"{path}: not a complete pickle ({reason(error)}); fetch the file again") from error


def open_weights(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file of weights.

    Raises:
        WeightsError: the file does not exist, is not readable, or is a folder, a pipe or a device.
    """
    try:
        return regular_file(path, kind="file of weights", error=WeightsError).open("rb")
    except OSError as error:
        raise WeightsError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
    """The name of a function or class in a pickle, which nothing in the file can change."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Opaque:
    """A placeholder for an object that a subclass of `PickleReader` does not create."""

    num_bytes: int = 0
    """Size of the object; it counts like the contents of an array."""


@dataclasses.dataclass(slots=True)
class _Dtype:
    """A dtype of numbers or text; a pickle may select its kind, size and byte order."""

    plain: np.dtype[Any]


@dataclasses.dataclass(slots=True)
class _Unfilled:
    """An array without contents; `array` is set once the pickle has given them."""

    array: np.ndarray | None = None


class PickleReader:
    """Runs one pickle from the current position of `file`, and stops at its end.

    Args:
        size_bytes: size of the file, which limits the memory of the pickle.
    """

    def __init__(self, file: BinaryIO, size_bytes: int):
        self._file, self._size_bytes = file, size_bytes
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._memory_left = SPARE_BYTES + BYTES_PER_BYTE * size_bytes
        self._values_left = SPARE_VALUES + size_bytes
        self._bytes_left = SPARE_BYTES + SHARED_TIMES * size_bytes

    def load(self) -> Any:
        """Runs the pickle to its end.

        Raises:
            PickleRefused: the pickle requests an object that this reader does not create.
            one of DAMAGE: the pickle is truncated or damaged.
        """
        read = self._file.read
        while (opcode := read(1)) != pickle.STOP:
            if value := _VALUES.get(opcode):
                self._stack.append(value(self))
            elif action := self.actions.get(opcode):
                action(self)
            else:
                self._unknown(opcode)
        result = self._stack.pop()
        self.check(result, with_contents=True)
        return result

    # --- methods for subclasses to override ---------------------------------------------------------------------

    def find(self, name: Global) -> Global:
        """Returns the name, if this reader can call it or accept it as an argument."""
        if name not in _CONSTRUCTORS:
            raise PickleRefused(f"it asks for {shown(str(name))}, which is not part of an array, so nothing was loaded")
        return name

    def call(self, name: Global, args: tuple[Any, ...]) -> Any:
        """Returns the result of calling the function or class of that name."""
        return _CONSTRUCTORS[name](self, *args)

    def check_key(self, key: Any) -> None:
        """Refuses keys that are slow to hash, or that can be chosen to collide."""
        if type(key) not in PLAIN_KEYS or (isinstance(key, int) and abs(key) > MAX_KEY):
            kind = f"the integer {shown(key)}" if isinstance(key, int) else f"{kind_of(key)}"
            raise PickleRefused(f"it has {kind} as a key, not text or a number")

    # --- reading ----------------------------------------------------------------------------------------------------

    def take(self, num_bytes: int) -> bytes:
        """Reads the next bytes; never allocates more than the file holds."""
        if num_bytes > 4096 and num_bytes > self._size_bytes - self._file.tell():
            raise EOFError(f"ends within a value of {num_bytes} bytes")
        data = self._file.read(num_bytes)
        if len(data) < num_bytes:
            raise EOFError("ends too early")
        return data

    def take_counted(self, width: int) -> bytes:
        """Reads bytes preceded by their number in `width` bytes."""
        return self.take(int.from_bytes(self.take(width), "little"))

    def take_line(self, *, longest: int = MAX_LINE_CHARS) -> bytes:
        line = self._file.readline(longest + 1)
        if not line.endswith(b"\n"):
            raise EOFError("ends within a line" if len(line) <= longest else f"has a line of over {longest} characters")
        return line[:-1]

    def take_long_line(self) -> bytes:
        return self.take_line(longest=self._size_bytes)

    def take_integer(self, width: int) -> int:
        num_bytes = int.from_bytes(self.take(width), "little")
        if num_bytes > MAX_INT_BYTES:
            raise PickleRefused(f"it has a number of {num_bytes} bytes")
        return int.from_bytes(self.take(num_bytes), "little", signed=True)

    def _unknown(self, opcode: bytes) -> None:
        if not opcode:
            raise EOFError("ends too early")
        if self._file.tell() == 1:
            raise ValueError(f"it begins with {opcode!r}")
        if opcode not in OPCODES:
            raise ValueError(f"no opcode is {opcode!r}")
        raise PickleRefused(f"it uses the opcode {OPCODES[opcode]}, which no array needs")

    def charge(self, num_bytes: int) -> None:
        self._memory_left -= num_bytes
        if self._memory_left < 0:
            raise PickleRefused(
                f"it creates so many values that they use over {BYTES_PER_BYTE} times its size of memory"
            )

    # --- the stack, and what the opcodes do to it -------------------------------------------------------------------

    def _mark(self) -> None:
        if len(self._outer) > MAX_DEPTH:
            raise PickleRefused(f"it nests its values over {MAX_DEPTH} deep")
        self._outer.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _push_made(self, value: Any, num_bytes: int) -> None:
        self.charge(num_bytes)
        self._stack.append(value)

    def _push_tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise IndexError("a tuple of missing values")
        items = tuple(self._stack[-length:])
        del self._stack[-length:]
        self._push_made(items, 64 + 8 * length)

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise PickleRefused(f"it appends to {kind_of(target)}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if len(items) % 2:
            raise ValueError("a key without a value")
        self.charge(64 * len(items))
        for key in items[::2]:
            self.check_key(key)
        if type(target) in (dict, collections.OrderedDict):
            target.update(zip(items[::2], items[1::2], strict=True))
        elif not isinstance(target, Opaque):
            raise PickleRefused(f"it sets items of {kind_of(target)}")

    def _add_items(self) -> None:
        items, target = self._pop_mark(), self._stack[-1]
        if type(target) is not set:
            raise PickleRefused(f"it adds members to {kind_of(target)}")
        target |= self.make_set(items)

    def make_set(self, items: list[Any]) -> set[Any]:
        self.charge(216 + 64 * len(items))
        for item in items:
            self.check_key(item)
        return set(items)

    def _append(self) -> None:
        self._extend([self._stack.pop()])

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _make_tuple(self) -> None:
        items = tuple(self._pop_mark())
        self._push_made(items, 64 + 8 * len(items))

    def _make_dict(self) -> None:  # with its items, in protocol 0
        items = self._pop_mark()
        self._push_made({}, 232)
        self._set_items(items)

    def _make_list(self) -> None:
        self._push_made(self._pop_mark(), 88)

    def _put(self, index: int) -> None:
        self.charge(128)
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> Any:
        value = self._memo[index]
        return value.array if type(value) is _Unfilled and value.array is not None else value

    def _name(self, module: bytes, name: bytes) -> None:
        self._push_made(self.find(Global(module.decode(), name.decode())), 128)

    def _name_of_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(module) is not str or type(name) is not str:
            raise TypeError("a name that is not text")
        self._push_made(self.find(Global(module, name)), 128)

    def _reduce(self) -> None:
        args, name = self._stack.pop(), self._stack.pop()
        if type(name) is not Global or type(args) is not tuple:
            raise PickleRefused(f"it calls {kind_of(name)} with {kind_of(args)}")
        self._push_made(self.call(name, args), 128)

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is _Unfilled and target.array is None:
            _, shape, dtype, is_fortran, data = state
            array = make_array(self, shape, dtype, _bytes_of(data), "F" if is_fortran else "C")
            self._stack[-1] = target.array = array.astype(array.dtype.newbyteorder("="), copy=False)
        elif type(target) is _Dtype:
            if type(state) is not tuple or state[1] not in ("<", ">", "=", "|"):
                raise PickleRefused("it asks for an unknown byte order")
            target.plain = target.plain.newbyteorder(state[1])
        elif type(target) not in (collections.OrderedDict, Opaque):  # attributes of these are ignored
            raise PickleRefused(f"it sets attributes of {kind_of(target)}")

    actions: ClassVar[dict[bytes, Callable[[Any], None]]] = {
        pickle.PROTO: lambda self: self.take(1),
        pickle.FRAME: lambda self: self.take(8),
        pickle.MARK: _mark,
        pickle.EMPTY_LIST: lambda self: self._push_made([], 88),
        pickle.EMPTY_DICT: lambda self: self._push_made({}, 232),
        pickle.EMPTY_SET: lambda self: self._push_made(set(), 216),
        pickle.LIST: _make_list,
        pickle.DICT: _make_dict,
        pickle.TUPLE: _make_tuple,
        pickle.TUPLE1: lambda self: self._push_tuple(1),
        pickle.TUPLE2: lambda self: self._push_tuple(2),
        pickle.TUPLE3: lambda self: self._push_tuple(3),
        pickle.FROZENSET: lambda self: self._push_made(frozenset(self.make_set(self._pop_mark())), 0),
        pickle.APPEND: _append,
        pickle.APPENDS: lambda self: self._extend(self._pop_mark()),
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: lambda self: self._set_items(self._pop_mark()),
        pickle.ADDITEMS: _add_items,
        pickle.PUT: lambda self: self._put(int(self.take_line())),
        pickle.BINPUT: lambda self: self._put(self.take(1)[0]),
        pickle.LONG_BINPUT: lambda self: self._put(int.from_bytes(self.take(4), "little")),
        pickle.MEMOIZE: lambda self: self._put(len(self._memo)),
        pickle.GLOBAL: lambda self: self._name(self.take_line(), self.take_line()),
        pickle.STACK_GLOBAL: _name_of_stack,
        pickle.REDUCE: _reduce,
        pickle.BUILD: _build,
    }

    # --- the result -------------------------------------------------------------------------------------------------

    def check(self, value: Any, *, with_contents: bool = False) -> None:
        """Refuses values that are deeply nested or contain themselves, or that expand far beyond the file's size."""
        level: list[Any] = [value]
        for _ in range(MAX_DEPTH):
            if with_contents:
                self._bytes_left -= sum(map(self._num_bytes, level))
            inner = itertools.chain.from_iterable(map(_parts, level))
            level = list(itertools.islice(inner, self._values_left + 1))
            self._values_left -= len(level)
            if self._values_left < 0 or self._bytes_left < 0:
                raise PickleRefused("it repeats its values until they are far larger than the file")
            if not level:
                return
        raise PickleRefused(f"it nests its values over {MAX_DEPTH} deep")

    def _num_bytes(self, value: Any) -> int:
        if isinstance(value, str | bytes | bytearray):
            return len(value)
        if isinstance(value, np.ndarray | np.generic):
            return value.nbytes
        if isinstance(value, Opaque):
            return value.num_bytes
        if type(value) in self.unfinished:
            raise PickleRefused(f"it has {kind_of(value)} where a value belongs")
        return 0

    unfinished: ClassVar[tuple[type, ...]] = (_Unfilled, _Dtype, Global)


KINDS = {_Unfilled: "array without contents", _Dtype: "dtype", Global: "name"}


def kind_of(value: Any) -> str:
    """Returns the kind of a value, for a message."""
    name = "object" if isinstance(value, Opaque) else KINDS.get(type(value), type(value).__name__)
    return f"an {name}" if name[0] in "aeiouO" else f"a {name}"


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else ()


# --- values: the opcodes that push one ------------------------------------------------------------------------------


def _integer_line(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _quoted(line: bytes) -> str:
    """Parses a string of Python 2, stored as its repr."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a text without quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")


_VALUES: dict[bytes, Callable[[PickleReader], Any]] = {
    pickle.NONE: lambda reader: None,
    pickle.NEWTRUE: lambda reader: True,
    pickle.NEWFALSE: lambda reader: False,
    pickle.EMPTY_TUPLE: lambda reader: (),
    pickle.INT: lambda reader: _integer_line(reader.take_line()),
    pickle.LONG: lambda reader: int(reader.take_line().removesuffix(b"L")),
    pickle.BININT: lambda reader: int.from_bytes(reader.take(4), "little", signed=True),
    pickle.BININT1: lambda reader: reader.take(1)[0],
    pickle.BININT2: lambda reader: int.from_bytes(reader.take(2), "little"),
    pickle.LONG1: lambda reader: reader.take_integer(1),
    pickle.LONG4: lambda reader: reader.take_integer(4),
    pickle.FLOAT: lambda reader: float(reader.take_line()),
    pickle.BINFLOAT: lambda reader: struct.unpack(">d", reader.take(8))[0],
    pickle.STRING: lambda reader: _quoted(reader.take_long_line()),
    pickle.BINSTRING: lambda reader: reader.take_counted(4).decode("latin1"),
    pickle.SHORT_BINSTRING: lambda reader: reader.take_counted(1).decode("latin1"),
    pickle.UNICODE: lambda reader: reader.take_long_line().decode("raw-unicode-escape"),
    pickle.BINUNICODE: lambda reader: reader.take_counted(4).decode("utf-8", "surrogatepass"),
    pickle.SHORT_BINUNICODE: lambda reader: reader.take_counted(1).decode("utf-8", "surrogatepass"),
    pickle.BINUNICODE8: lambda reader: reader.take_counted(8).decode("utf-8", "surrogatepass"),
    pickle.BINBYTES: lambda reader: reader.take_counted(4),
    pickle.SHORT_BINBYTES: lambda reader: reader.take_counted(1),
    pickle.BINBYTES8: lambda reader: reader.take_counted(8),
    pickle.BYTEARRAY8: lambda reader: bytearray(reader.take_counted(8)),
    pickle.GET: lambda reader: reader.get(int(reader.take_line())),
    pickle.BINGET: lambda reader: reader.get(reader.take(1)[0]),
    pickle.LONG_BINGET: lambda reader: reader.get(int.from_bytes(reader.take(4), "little")),
}


# --- constructors: the names that a pickle of arrays calls ----------------------------------------------------------


def make_array(
    reader: PickleReader, shape: Any, dtype: Any, data: bytes | bytearray, order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """Returns an array in the memory of `data`, whose length must match the shape and type."""
    plain = _dtype(reader, dtype).plain if type(dtype) is str else dtype.plain if type(dtype) is _Dtype else None
    if plain is None:
        raise PickleRefused(f"it asks for an array of {kind_of(dtype)}, not of numbers or text")
    if type(data) not in (bytes, bytearray):
        raise PickleRefused(f"it asks for an array in the memory of {kind_of(data)}")
    if type(shape) is not tuple or len(shape) > MAX_DIMS or any(type(size) is not int or size < 0 for size in shape):
        raise PickleRefused("it asks for an array of an invalid shape")
    # only a malicious file has an empty array with large dimensions
    if math.prod(max(size, 1) for size in shape) * max(plain.itemsize, 1) > max(SPARE_BYTES, reader._size_bytes):
        raise PickleRefused("it asks for an array that is larger than the file")
    if math.prod(shape) * plain.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} of {plain} in {len(data)} bytes")
    if plain.kind == "b" and data.translate(None, b"\0\1"):
        raise ValueError("an array of bool with values that are neither true nor false")
    if (
        plain.kind == "U"
        and data
        and np.frombuffer(data, np.dtype("u4").newbyteorder(plain.byteorder)).max() > 0x10FFFF
    ):
        raise ValueError("an array of text with invalid characters")
    array: np.ndarray = np.ndarray(shape, plain, data, order="F" if order == "F" else "C")
    return array


def _bytes_of(data: Any) -> Any:
    """Returns the contents of an array, which Python 2 stored as text."""
    return data.encode("latin1") if type(data) is str else data


def _dtype(reader: PickleReader, code: Any, *_: Any) -> _Dtype:
    if type(code) is not str or not DTYPE.fullmatch(code):
        raise PickleRefused(f"it asks for an array of {shown(code)}, not of numbers or text")
    return _Dtype(np.dtype(code))


def _ndarray(reader: PickleReader, shape: Any, dtype: Any, data: Any = None) -> np.ndarray | _Unfilled:
    """Creates an array; without `data` it stays unfilled, because memory of `shape` would be uninitialized."""
    return _Unfilled() if data is None else make_array(reader, shape, dtype, data)


def _reconstruct(reader: PickleReader, kind: Any, *_: Any) -> _Unfilled:
    if kind != Global("numpy", "ndarray"):
        raise PickleRefused("it asks for an array of a custom type")
    return _Unfilled()


def _scalar(reader: PickleReader, dtype: Any, data: Any) -> Any:
    return make_array(reader, (1,), dtype, _bytes_of(data))[0]


def _latin1_bytes(reader: PickleReader, text: Any, encoding: Any = "latin1") -> bytes:
    """Decodes bytes as stored by Python 3 in protocol 2; `codecs.encode` itself would accept any codec."""
    if encoding != "latin1":
        raise PickleRefused(f"it asks to encode with {shown(encoding)}, which no array needs")
    _check_type("text", text, str)
    return codecs.encode(text, "latin1")


def _check_type(kind: str, value: Any, *admitted: type) -> None:
    if type(value) not in admitted:
        raise PickleRefused(f"it asks for {kind} of a value of type {type(value).__name__}, which no array needs")


def _ordered_dict(reader: PickleReader, pairs: Any = ()) -> collections.OrderedDict[Any, Any]:
    """Creates an ordered dict; Python 2 stores the pairs at once, Python 3 one by one afterwards."""
    _check_type("OrderedDict", pairs, list, tuple)
    reader.charge(232 + 128 * len(pairs))
    for pair in pairs:
        _check_type("OrderedDict", pair, list, tuple)
        reader.check_key(pair[0])
    return collections.OrderedDict(pairs)


def _set(reader: PickleReader, members: Any = ()) -> set[Any]:
    _check_type("set", members, list, tuple)
    return reader.make_set(list(members))


def _complex(reader: PickleReader, *parts: Any) -> complex:
    for part in parts:
        _check_type("complex", part, int, float)
    return complex(*parts)


def _bytes(reader: PickleReader, *args: Any) -> bytes:
    """Calls `bytes()` or `bytes(text)`; never `bytes(n)`, which would allocate n bytes."""
    return bytes(_bytearray(reader, *args, kind="bytes"))


def _bytearray(
    reader: PickleReader, text: Any = b"", encoding: Any = "latin1", *, kind: str = "bytearray"
) -> bytearray:
    _check_type(kind, text, bytes, str)
    return bytearray(_latin1_bytes(reader, text, encoding) if type(text) is str else text)


_CONSTRUCTORS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _ordered_dict,
    Global("_codecs", "encode"): _latin1_bytes,
    Global("numpy", "ndarray"): _ndarray,
    Global("numpy", "dtype"): _dtype,
}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _CONSTRUCTORS[Global(f"{_core}.multiarray", "_reconstruct")] = _reconstruct
    _CONSTRUCTORS[Global(f"{_core}.multiarray", "scalar")] = _scalar
    _CONSTRUCTORS[Global(f"{_core}.numeric", "_frombuffer")] = lambda reader, data, dtype, shape, order="C": make_array(
        reader, shape, dtype, data, order
    )
for _builtins in ("builtins", "__builtin__"):  # the other builtin types have opcodes of their own
    _CONSTRUCTORS[Global(_builtins, "set")] = _set
    _CONSTRUCTORS[Global(_builtins, "complex")] = _complex
    _CONSTRUCTORS[Global(_builtins, "bytes")] = _bytes
    _CONSTRUCTORS[Global(_builtins, "bytearray")] = _bytearray
