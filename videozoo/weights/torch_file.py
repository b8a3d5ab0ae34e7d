"""Reads torch's files, after a check that torch can load them safely.

`torch.load(weights_only=True)` runs no foreign function, but it hashes and allocates as a file demands: a key of nested
tuples overflows the stack, a storage may be smaller than stated, and an archive of zeros unpacks to any size.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import math
import os
import pickle
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

import torch

from videozoo.errors import WeightsError
from videozoo.io.unpickle import DAMAGE, SPARE_BYTES, Global, Opaque, PickleReader, PickleRefused, kind_of, open_weights
from videozoo.structured import shown

__all__ = ["TORCH_DAMAGE", "TorchFileRefused", "is_legacy", "is_zip", "read_torch"]

ZIP = b"PK\x03\x04"
LEGACY = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")  # pickled first in the files before version 1.6
MAX_UNPACKED = 4  # times the size of the file; torch stores its tensors as they are
MAX_KEY_LENGTH = 16
TORCH_DAMAGE = (*DAMAGE, OSError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)
ITEM_BYTES = {
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
    "ComplexDouble": 16,
    "ComplexFloat": 8,
    "QUInt8": 1,
    "QInt8": 1,
    "QInt32": 4,
    "Untyped": 1,
}
PLAIN_CALLS = "collections.OrderedDict", "_codecs.encode", "builtins.bytearray", "builtins.set", "builtins.complex"
VIEWS = tuple(f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3"))
PARAMETERS = (
    "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
)


class TorchFileRefused(PickleRefused):
    """A file of torch's needs more than weights do; the message has no path, which the caller adds."""


def is_zip(head: bytes) -> bool:
    """Returns whether a file that begins with `head` has the format of torch 1.6 or later."""
    return head.startswith(ZIP)


def is_legacy(head: bytes) -> bool:
    """Returns whether a file that begins with `head` has the format of torch before 1.6."""
    return LEGACY in head[:64]


def read_torch(path: str | os.PathLike[str], *, inert: Callable[[str], Any] | None = None) -> Any:
    """Reads a file of torch's onto the CPU; runs no function in it.

    Args:
        inert: makes a stand-in for the foreign class of a name; None refuses files with foreign classes.

    Raises:
        WeightsError: no such file, or no permission.
        TorchFileRefused: it needs more than weights do.
        one of TORCH_DAMAGE: it is cut short, damaged or not torch's, or has a foreign class.
    """
    try:
        with open_weights(path) as file:
            head = file.read(64)
            file.seek(0)
            if is_zip(head):
                _check_zip(file)
            elif is_legacy(head):
                _check_legacy(file)
            else:
                raise pickle.UnpicklingError("it is neither a zip archive nor a pickle of torch's")
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path) if inert and is_zip(head) else []
        allowed: list[Any] = [(inert(name), name) for name in foreign] if inert else []
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PickleRefused as error:
        raise TorchFileRefused(str(error)) from error
    except (WeightsError, *TORCH_DAMAGE):
        raise
    except Exception as error:  # torch and zipfile fail in as many ways as a file may be damaged
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _check_zip(file: BinaryIO) -> None:
    """Checks an archive: the unpacked size of its entries, and its pickle, whose name torch finds in any case."""
    size_bytes = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename.lower() for entry in entries]
        is_plain = all(entry.filename == entry.orig_filename for entry in entries)
        if archive.comment or not is_plain or len(set(names)) < len(names) or min(e.header_offset for e in entries):
            raise PickleRefused("its archive differs from those that torch writes, and can be read in several ways")
        unpacked_bytes = sum(entry.file_size for entry in entries)
        if unpacked_bytes > MAX_UNPACKED * size_bytes + SPARE_BYTES:
            raise PickleRefused(f"it unpacks to {unpacked_bytes:,} bytes, but the file has only {size_bytes:,}")
        root = entries[0].filename.partition("/")[0].lower()
        sizes = {name.removeprefix(f"{root}/"): entry.file_size for name, entry in zip(names, entries, strict=True)}
        for name, entry in zip(names, entries, strict=True):
            if name == f"{root}/data.pkl":
                program = archive.read(entry)
                _TorchReader(io.BytesIO(program), size_bytes, records=sizes).load()


def _check_legacy(file: BinaryIO) -> None:
    """Checks the pickles before the storages: magic number, protocol, system, the object, and the storages' keys."""
    size_bytes = os.fstat(file.fileno()).st_size
    if _TorchReader(file, size_bytes).load() != torch.serialization.MAGIC_NUMBER:
        raise pickle.UnpicklingError("it does not begin with torch's magic number")
    for _ in range(4):
        _TorchReader(file, size_bytes).load()


@dataclasses.dataclass(frozen=True, slots=True)
class _Storage(Opaque):
    item_bytes: int = 1


class _Tensor(Opaque):
    """A tensor, a parameter or a size: an object of torch's own."""


class _TorchReader(PickleReader):
    """Runs a pickle of torch's with stand-ins for all its objects; see `PickleReader`.

    Args:
        records: sizes of the archive's records, in bytes; None for a file whose storages follow the pickles.
    """

    def __init__(self, file: BinaryIO, size_bytes: int, *, records: Mapping[str, int] | None = None):
        super().__init__(file, size_bytes)
        self._records = records
        self._storage_bytes: dict[str, int] = {}

    def find(self, name: Global) -> Global:
        """Accepts any name: torch refuses unknown ones or gets stand-ins for them."""
        module, last = NAME_MAPPING.get((name.module, name.name), (None, None))
        return Global(module or IMPORT_MAPPING.get(name.module, name.module), last or name.name)

    def check_key(self, key: Any) -> None:
        if type(key) is tuple and len(key) <= MAX_KEY_LENGTH:
            for part in key:
                super().check_key(part)
        elif key is not None:
            super().check_key(key)

    def call(self, name: Global, args: tuple[Any, ...]) -> Any:
        """Checks the arguments of functions that weights need, refuses torch's others, and replaces foreign ones."""
        self.check(args)  # before torch compares, hashes or copies them
        full = str(name)  # as torch looks it up, wherever the file splits it
        if full in PLAIN_CALLS:
            return super().call(Global(*full.rsplit(".", 1)), args)
        if full == "collections.Counter":
            if args and (len(args) > 1 or type(args[0]) is not dict):
                raise PickleRefused("it counts something other than the items of a dict")
            return Opaque()
        if full == "torch._tensor._rebuild_from_type_v2":
            function, _, inner, _ = args
            if not str(function).startswith("torch._utils._rebuild_") or type(inner) is not tuple:
                raise PickleRefused("it rebuilds a tensor by a function that is not torch's")
            return self.call(function, inner)
        if full in VIEWS:
            return _view(*args)
        if full in PARAMETERS:
            if not args or not isinstance(args[0], _Tensor):
                raise PickleRefused("it makes a parameter of something other than a tensor")
            return args[0]
        if full == "torch.Size":
            _check_size(*args)
            return _Tensor()
        if full.startswith(("torch._utils.", "torch._tensor.")) or re.fullmatch(r"torch\b.*(Tensor|Storage)", full):
            raise PickleRefused(f"it calls {shown(full)}, which no weights need")
        return Opaque()

    def _new(self) -> None:
        args, name = self._stack.pop(), self._stack.pop()
        if type(name) is not Global or type(args) is not tuple:
            raise PickleRefused(f"it makes an object of {kind_of(name)}")
        self._push_made(self.call(name, args), 128)

    def _persistent(self) -> None:
        """Reads a storage: ("storage", its type, its record or key, a device, its length, in old files None)."""
        if (asked := self._stack.pop())[:1] == ("module",):  # a class with its source, which torch names and refuses
            self._stack.append(asked[1])
            return
        word, kind, key, _, length, *_ = asked
        name = str(kind).rpartition(".")[2].removesuffix("Storage")
        if word != "storage" or type(key) is not str or type(length) is not int or name not in ITEM_BYTES:
            raise PickleRefused("it asks for a storage of an unknown kind")
        num_bytes = length * ITEM_BYTES[name]
        if self._records is not None:
            room = self._records.get(f"data/{key}".lower(), 0)
        else:
            self._storage_bytes.setdefault(key, num_bytes)
            room = self._size_bytes - sum(self._storage_bytes.values()) + num_bytes
        if not 0 <= num_bytes <= room:
            raise PickleRefused(f"it asks for a storage of {num_bytes:,} bytes, but the file has {max(room, 0):,}")
        self._push_made(_Storage(0, ITEM_BYTES[name]), 64)

    def _build_checked(self) -> None:
        target, state = self._stack[-2:]
        self.check(state)
        if type(target) is collections.OrderedDict and type(state) is not dict:
            raise PickleRefused(f"it sets attributes by {kind_of(state)}")
        self._build()

    actions: ClassVar[dict[bytes, Callable[[Any], None]]] = {
        **PickleReader.actions,
        pickle.NEWOBJ: _new,
        pickle.BINPERSID: _persistent,
        pickle.BUILD: _build_checked,
    }
    unfinished: ClassVar[tuple[type, ...]] = ()  # names stand for themselves: dtypes, functions of a log


def _view(storage: Any, offset: Any, size: Any, *rest: Any) -> _Tensor:
    """Returns a view of a storage, counted at its full size: torch checks its bounds, but a stride may be 0."""
    if not isinstance(storage, _Storage):
        raise PickleRefused("it asks for a tensor in something other than a storage")
    _check_size(size)
    dtypes = [vars(torch).get(part.name) for part in rest if type(part) is Global]
    item_bytes = max([storage.item_bytes, *(dtype.itemsize for dtype in dtypes if isinstance(dtype, torch.dtype))])
    return _Tensor(item_bytes * math.prod(size))


def _check_size(size: Any) -> None:
    if type(size) not in (tuple, list) or len(size) > 64 or any(type(n) is not int or not 0 <= n < 2**60 for n in size):
        raise PickleRefused("it asks for a tensor of an invalid size")
