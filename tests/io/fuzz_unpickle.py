"""Random pickles, read in a child process: `python -m tests.io.fuzz_unpickle FIRST COUNT` prints a line of JSON.

Half of the streams are opcodes at random, half are valid pickles with a few places changed. Each is read, or refused
with one line; the child ends by a signal or a traceback if one is not.
"""

from __future__ import annotations

import collections
import json
import pickle
import pickletools
import random
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from videozoo.errors import WeightsError
from videozoo.io.unpickle import unpickle_arrays

NAMES = [
    *("collections OrderedDict", "_codecs encode", "numpy ndarray", "numpy dtype", "numpy.core.multiarray scalar"),
    *("numpy.core.multiarray _reconstruct", "numpy._core.numeric _frombuffer", "builtins set", "builtins bytes"),
    *("__builtin__ bytearray", "builtins complex", "os system", "builtins eval", "numpy load", "builtins getattr"),
]
TEXTS = ["a", "plain", "__defaults__", "__class__", "latin1", "f8", "<f4", "O", "U9", "b1", "<", "", "\xff", "0" * 300]
NUMBERS = [0, 1, 2, 3, 7, 8, 64, 255, 2**16 - 1, 2**28 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
OPCODES = [opcode for opcode in pickletools.opcodes if opcode.name != "STOP"]
SCALARS = [
    *("NONE", "NEWTRUE", "BININT1", "BININT", "LONG1", "BINFLOAT", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_LIST"),
    *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BYTEARRAY8", "STRING", "INT", "BINGET"),
]
BY_NAME = {opcode.name: opcode for opcode in OPCODES}


def stream(seed: int) -> bytes:
    rng = random.Random(seed)
    return mutated(rng, array_pickle) if seed % 2 else program(rng)


def program(rng: random.Random) -> bytes:
    """Opcodes that mostly push what the next one takes, now and then with one at random between."""
    return b"\x80\x04" + pushed(rng, rng.choice((1, 3, 6))) + b"."


def pushed(rng: random.Random, depth: int) -> bytes:
    """Opcodes that leave one more value on the stack."""
    if rng.random() < 0.02:
        opcode = rng.choice(OPCODES)
        return opcode.code.encode("latin1") + argument(opcode, rng) * rng.choice((1, 1, 1, 5000))
    if depth == 0:
        opcode = BY_NAME[rng.choice(SCALARS)]
        return opcode.code.encode("latin1") + argument(opcode, rng)
    items = [pushed(rng, rng.randrange(depth)) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 5)))]
    several, name = b"(" + b"".join(items), argument(BY_NAME["GLOBAL"], rng)
    made = rng.choice(
        [
            *(
                several + b"t",
                several + b"l",
                b"]" + several + b"e",
                b"}" + several + b"u",
                b"\x8f" + several + b"\x90",
            ),
            *(b"c" + name + several + b"tR",) * 4,
            *(several + b"\x91", several + b"d", b"c" + name, pushed(rng, depth - 1) + pushed(rng, depth - 1) + b"b"),
            *(b"cnumpy\ndtype\n(X\x02\x00\x00\x00" + rng.choice((b"f4", b"u1", b"U1", b"O8", b"b1")) + b"tR",) * 2,
            b"cnumpy\nndarray\n" + several + b"tR",
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(" + several[1:] + b"tb",
        ]
    )
    return made + rng.choice((b"", b"", b"q\x00", b"q\x01", b"\x94"))


def argument(opcode: pickletools.OpcodeInfo, rng: random.Random) -> bytes:
    kind = opcode.arg
    if kind is None:
        return b""
    text = rng.choice(TEXTS).encode("latin1")
    if kind.n > 0:  # a number of so many bytes
        return (rng.choice(NUMBERS) % 256**kind.n).to_bytes(kind.n, "little")
    if kind.n == pickletools.UP_TO_NEWLINE:
        if opcode.name in ("GLOBAL", "INST"):
            return rng.choice(NAMES).replace(" ", "\n").encode() + b"\n"
        quoted = b"'" + text + b"'" if opcode.name == "STRING" else text
        return (str(rng.choice(NUMBERS)).encode() if rng.random() < 0.7 else quoted) + b"\n"
    width = {pickletools.TAKEN_FROM_ARGUMENT1: 1}.get(kind.n, 8 if "8" in opcode.name else 4)
    length = len(text) if rng.random() < 0.8 else rng.choice(NUMBERS)
    return (length % 256**width).to_bytes(width, "little") + text


def array_pickle(rng: random.Random) -> bytes:
    value = rng.choice(
        [
            {"w": np.arange(6).astype(rng.choice("fdiHB?")).reshape(2, 3), "n": {"a": [1, (2.5, None)], "s": {1, 2}}},
            collections.OrderedDict(a=np.float64(2.5), b=np.array(["ab", "c"]), c=b"\xff", d=bytearray(b"x"), e=1j),
            [{b"video": b"a", b"feature": np.zeros((2, 4), np.uint8), b"label": [1, 2**40], b"nframes": 2}] * 2,
            [(b"clip", [np.zeros(3, ">f4"), np.asfortranarray(np.zeros((2, 2)))])],
        ]
    )
    return pickle.dumps(value, rng.randrange(6))


def mutated(rng: random.Random, valid: Callable[[random.Random], bytes]) -> bytes:
    data = bytearray(valid(rng))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        try:
            places = [place for _, _, place in pickletools.genops(bytes(data))]
        except ValueError:  # it is no longer whole
            places = list(range(len(data)))
        if len(places) < 2:
            break
        number = rng.randrange(len(places) - 1)
        place, end = places[number], places[number + 1]
        match rng.randrange(6):
            case 0:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                del data[place:end]
            case 2:
                opcode = rng.choice(OPCODES)
                data[place:place] = opcode.code.encode("latin1") + argument(opcode, rng)
            case 3:
                data[place:place] = data[place:end] * rng.choice((1, 30))
            case 4:
                other = valid(rng)
                data[place:] = other[rng.randrange(len(other)) :]
            case 5:
                data[end - 1] = rng.randrange(256)  # an argument
    return bytes(data)


def main(first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path, good = Path(folder, "x.pkl"), Path(folder, "good.pkl")
        good.write_bytes(pickle.dumps([np.arange(6.0).reshape(2, 3), collections.OrderedDict(a=b"x")], 2))
        before = repr(unpickle_arrays(good))
        resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
        start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(first, first + count):
            print(seed, file=sys.stderr, flush=True)  # the last line is the one that a crash is due to
            path.write_bytes(stream(seed))
            try:
                unpickle_arrays(path)
                answers["read"] += 1
            except WeightsError as error:
                message = str(error)
                assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 600, message
                answers["damaged" if "not a complete pickle" in message else "refused"] += 1
        assert repr(unpickle_arrays(good)) == before, "a pickle changed how later ones are read"
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kib
    print(json.dumps({**answers, "grown_mib": grown_kib >> 10}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
