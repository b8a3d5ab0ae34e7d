from __future__ import annotations

import collections
import os
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from videozoo.errors import WeightsError
from videozoo.io.unpickle import unpickle_arrays


class Hostile:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def written(tmp_path, value, protocol=2):
    path = tmp_path / "weights.pdparams"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_arrays_survive(tmp_path, protocol):
    arrays = collections.OrderedDict(
        a=np.arange(6, dtype=np.float32).reshape(2, 3),
        b=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        c=np.float64(2.5),
        d=np.zeros((0, 3), np.int64),
        table={"a": "name_0", "n": [1, (2.0, None, True)], "s": {1}, "b": [b"", b"\xff", bytearray(b"\xff"), 1j]},
        e=np.array(["ab", "c"]),
        f=np.arange(3, dtype=">i4"),
    )
    read = unpickle_arrays(written(tmp_path, arrays, protocol))
    assert list(read) == list(arrays) and read["table"] == arrays["table"]
    plain = pickle.loads(pickle.dumps(arrays, protocol))  # makes some byte orders native
    for name in "abcdef":
        np.testing.assert_array_equal(read[name], arrays[name])
        assert read[name].dtype == plain[name].dtype
    assert type(read["a"]) is np.ndarray


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        (Hostile(os.system, "touch {}"), "posix.system|nt.system"),
        (Hostile(eval, "open('{}', 'w')"), "builtins.eval|__builtin__.eval"),
        (Hostile(getattr, dict, "fromkeys"), "builtins.getattr|__builtin__.getattr"),
        (Hostile(np.load, "{}"), r"numpy.*load"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_anything_else_is_refused_by_name_and_not_run(tmp_path, hostile, name, protocol):
    mark = tmp_path / "ran"
    function, args = hostile.call
    hostile.call = (function, tuple(a.format(mark) if isinstance(a, str) else a for a in args))
    path = written(tmp_path, {"w": np.zeros(2), "x": hostile}, protocol)
    with pytest.raises(WeightsError, match=rf"weights.pdparams: it asks for '({name})', .*; do not trust this file"):
        unpickle_arrays(path)
    assert not mark.exists()


def test_a_codec_is_refused(tmp_path):
    import codecs

    path = written(tmp_path, Hostile(codecs.encode, "x", "zlib"))
    with pytest.raises(WeightsError, match="asks to encode with 'zlib'"):
        unpickle_arrays(path)


def test_a_cut_file_is_no_pickle(tmp_path):
    path = written(tmp_path, {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r"weights.pdparams: not a complete pickle \(.*\); fetch the file again"):
        unpickle_arrays(path)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Hostile(bytes, 10**9), "bytes of a value of type int"),
        (Hostile(bytearray, 10**9), "bytearray of a value of type int"),
        (Hostile(bytearray, np.int64(10**9)), "bytearray of a value of type int64"),
        (Hostile(set, b"many bytes"), "set of a value of type bytes"),
        (Hostile(list, b"many bytes"), "'(__builtin__|builtins).list'"),
        (Hostile(str, ["many", "lists"]), "'(__builtin__|builtins).(str|unicode)'"),
    ],
)
def test_a_small_file_makes_nothing_large(tmp_path, call, reason):
    with pytest.raises(WeightsError, match=rf"weights.pdparams: it asks for {reason}, .*; do not trust this file"):
        unpickle_arrays(written(tmp_path, call))


def test_an_array_that_is_never_given_its_contents_is_refused(tmp_path):
    reconstruct = np.zeros(1).__reduce__()[0]
    for call in Hostile(reconstruct, np.ndarray, (9, 9), b"f"), Hostile(np.ndarray, (9, 9), np.dtype("f8")):
        with pytest.raises(WeightsError, match="it has an array without contents where a value belongs"):
            unpickle_arrays(written(tmp_path, call))
    for data, reason in (b"short", "not a complete pickle"), (np.zeros(1), "an array in the memory of a ndarray"):
        with pytest.raises(WeightsError, match=reason):
            unpickle_arrays(written(tmp_path, Hostile(np.ndarray, (9, 9), "<f8", data)))


@pytest.mark.parametrize("dtype", [np.dtype("O"), np.dtype([("a", "f8")]), np.dtype("V8"), np.dtype("M8[s]")])
def test_an_array_of_anything_but_numbers_and_text_is_refused(tmp_path, dtype):
    with pytest.raises(WeightsError, match=r"it asks for an array of '.*', not of numbers or text"):
        unpickle_arrays(written(tmp_path, np.zeros(2, dtype)))


class HostileDtype:
    """One that says that its fields lie far beyond the array."""

    def __reduce__(self):
        fields = {"a": (np.dtype("f8"), 10**6)}
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), fields, -1, -1, 0)


@pytest.mark.parametrize("protocol", [2, 5])
def test_of_a_dtype_only_the_byte_order_is_taken(tmp_path, protocol):
    class Array:
        def __reduce__(self):
            reconstruct = np.zeros(1).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), (1, (2,), HostileDtype(), False, np.ones(2).tobytes())

    array = unpickle_arrays(written(tmp_path, Array(), protocol))
    assert array.dtype == np.dtype("<f8") and array.dtype.names is None and array.tolist() == [1, 1]


# ---- programs that no pickler writes: a file changes nothing that it is given, and takes little time and memory ----


def refused(tmp_path, program):
    """The one line about a pickle that is a program."""
    path = tmp_path / "hostile.pdparams"
    path.write_bytes(program)
    with pytest.raises(WeightsError) as caught:
        unpickle_arrays(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 500
    return message.removeprefix(f"{path}: ")


ORDERED_DICT = b"ccollections\nOrderedDict\n"
FROMBUFFER = b"cnumpy.core.numeric\n_frombuffer\n"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
ADDRESS = b"C\x08AAAAAAAA"
PRETENDED = ORDERED_DICT + b")R}X\x05\x00\x00\x00plainX\x01\x00\x00\x00Osb"  # an OrderedDict with .plain = "O"


@pytest.mark.parametrize(
    "program",
    [
        FROMBUFFER + b"(" + ADDRESS + PRETENDED + b"K\x01\x85tR",
        SCALAR + b"(" + PRETENDED + ADDRESS + b"tR",
        RECONSTRUCT + b"(K\x01K\x01\x85" + PRETENDED + b"\x89" + ADDRESS + b"tb",
        b"cnumpy\nndarray\n(K\x01\x85" + PRETENDED + ADDRESS + b"tR",
    ],
    ids=["frombuffer", "scalar", "state", "ndarray"],
)
def test_nothing_passes_for_a_dtype(tmp_path, program):
    assert refused(tmp_path, b"\x80\x03" + program + b".").startswith("it asks for an array of an OrderedDict, not of ")


@pytest.mark.parametrize("code", [b"O", b"O8", b"f8,O", b"(9999,9999)f8", b"M8", b"V8", b"f8" * 500, b"U99999999999"])
def test_only_plain_dtypes_are_made(tmp_path, code):
    text = b"X" + len(code).to_bytes(4, "little") + code
    for program in b"cnumpy\ndtype\n" + text + b"\x85R", b"cnumpy\nndarray\n(K\x01\x85" + text + ADDRESS + b"tR":
        assert refused(tmp_path, b"\x80\x03" + program + b".").startswith("it asks for an array of '")


NAMES = [
    *(b"ccollections\nOrderedDict\n", b"c_codecs\nencode\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", FROMBUFFER),
    *(SCALAR, b"cnumpy._core.multiarray\n_reconstruct\n", b"cbuiltins\nset\n", b"c__builtin__\nbytearray\n"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", [b"N}X\x0c\x00\x00\x00__defaults__X\x01\x00\x00\x00F\x85s\x86", b"}", b"N", b")"])
def test_an_admitted_name_cannot_be_changed(tmp_path, name, state):
    good = tmp_path / "good.pkl"
    good.write_bytes(pickle.dumps(np.arange(6.0).reshape(2, 3), protocol=5))
    assert refused(tmp_path, b"\x80\x03" + name + state + b"b.") == (
        "it sets attributes of a name; do not trust this file"
    )
    assert unpickle_arrays(good).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("value", [b"}", b"]", b"\x8f", b"X\x01\x00\x00\x00a", b"N", b"K\x01"])
def test_only_arrays_take_a_state(tmp_path, value):
    assert refused(tmp_path, b"\x80\x04" + value + b"}b.").startswith("it sets attributes of ")


def test_an_array_takes_its_contents_once(tmp_path):
    state = b"(K\x01K\x01\x85cnumpy\ndtype\n(X\x02\x00\x00\x00f8\x89\x88tR\x89" + ADDRESS + b"tb"
    program = b"\x80\x03" + RECONSTRUCT + state
    path = tmp_path / "good.pkl"
    path.write_bytes(program + b".")
    assert unpickle_arrays(path).shape == (1,)
    assert refused(tmp_path, program + state + b".").startswith("it sets attributes of a ndarray; ")


def test_attributes_of_an_ordered_dict_are_left_out(tmp_path):
    state = collections.OrderedDict(a=1)
    state._metadata = {"version": 1}  # as torch's have them
    read = unpickle_arrays(written(tmp_path, state))
    assert read == {"a": 1} and not hasattr(read, "_metadata")


def test_python_2_gives_an_ordered_dict_its_pairs_at_once(tmp_path):
    path = tmp_path / "old.pkl"
    path.write_bytes(ORDERED_DICT + b"((lp1\n(lp2\nS'a'\naI1\naatR.")
    assert unpickle_arrays(path) == {"a": 1}
    assert refused(tmp_path, ORDERED_DICT + b"(I9\ntR.").startswith("it asks for OrderedDict of a value of type int, ")


KEYS = {
    "a tuple": b")",
    "a tuple that doubles": b"NN\x86q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60)),
    "a tuple that is deep": b")" + b"\x85" * 50_000,
    "an array": FROMBUFFER + b"(" + ADDRESS + b"X\x02\x00\x00\x00f8K\x01\x85tR",
    "None": b"N",
    "a large number": b"\x8a\x0a" + b"\x01" * 10,
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "place",
    [
        b"}%sNs",
        b"}(%sNu",
        b"(%sNd",
        b"\x8f(%s\x90",
        b"(%s\x91",
        b"cbuiltins\nset\n](%se\x85R",
        ORDERED_DICT + b"](%sN\x86e\x85R",
    ],
    ids=["setitem", "setitems", "dict", "additems", "frozenset", "set", "pairs"],
)
def test_keys_are_plain(tmp_path, key, place):
    assert re.match(
        "it has .* as a key, not text or a number; do not trust",
        refused(tmp_path, b"\x80\x04" + place.replace(b"%s", KEYS[key]) + b"."),
    )


@pytest.mark.parametrize("index", [2**28 - 1, 2**32 - 1])
def test_a_place_in_the_memo_costs_nothing(tmp_path, index):
    path = tmp_path / "memo.pkl"
    path.write_bytes(b"\x80\x02Nr" + index.to_bytes(4, "little") + b".")
    tracemalloc.start()
    assert unpickle_arrays(path) is None
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (b")" + b"\x85" * 50_000, "it nests its values over 64 deep"),
        (b"]" + b"]" * 1000 + b"a" * 1000, "it nests its values over 64 deep"),
        (b"(" * 100_000, "it nests its values over 64 deep"),
        (b"]q\x00h\x00a", "it nests its values over 64 deep"),
        (b"]q\x00(h\x00h\x00e", "it repeats its values until they are far larger than the file"),
        (b"NN\x86q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40)), "it repeats its values"),
        (b"(" + b"\x8f" * 400_000 + b"l", "it creates so many values"),
        (b"N" + b"\x94" * 700_000, "it creates so many values"),
        (b"2", "it uses the opcode DUP, which no array needs"),
        (b"N2", "it uses the opcode DUP, which no array needs"),
        (b"NP1\n", "it uses the opcode PERSID, which no array needs"),
        (b"N\x82\x01", "it uses the opcode EXT1, which no array needs"),
        (b"\x8b\xff\xff\xff\x7f", "it has a number of 2147483647 bytes"),
        (b"L" + b"9" * 100_000 + b"L\n", "has a line of over 1000 characters"),
        (b"B\xff\xff\xff\xff", "ends within a value of 4294967295 bytes"),
        (b"\x8e" + b"\xff" * 8, "ends within a value of "),
        (b"\x8f(h\x01\x90", "not a complete pickle"),
        (b"a", "not a complete pickle"),
        (b"NNb", "it sets attributes of a NoneType"),
        (b"NNR", "it calls a NoneType with a NoneType"),
    ],
)
def test_a_program_that_nests_repeats_or_asks_for_much_is_refused(tmp_path, program, reason):
    tracemalloc.start()
    message = refused(tmp_path, b"\x80\x04" + program + b".")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reason in message and peak_bytes < 150 << 20


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((10**9, 0), b""),
        ((0, 10**9), b""),
        ((1,) * 40, b"1"),
        ((-1, -1), b"1"),
        ((True,), b"1"),
        ((2**70,), b"1"),
        ("ab", b"1"),
    ],
)
def test_a_shape_that_no_array_has(tmp_path, shape, data):
    message = refused(tmp_path, pickle.dumps(Hostile(np.ndarray, shape, "|u1", data), protocol=4))
    assert message.startswith("it asks for an array ")


@pytest.mark.parametrize(
    ("code", "data"), [("|b1", b"\x02"), ("<U1", b"\xff\xff\xff\xff"), (">U1", b"\x00\xff\x00\x00")]
)
def test_contents_that_their_type_does_not_have(tmp_path, code, data):
    message = refused(tmp_path, pickle.dumps(Hostile(np.ndarray, (1,), code, data), protocol=4))
    assert message.startswith("not a complete pickle (an array of ")


def test_arrays_that_are_shared_are_read_once(tmp_path):
    tied = np.arange(1000.0)
    read = unpickle_arrays(written(tmp_path, {"in": tied, "out": tied, "n": [tied.dtype.str] * 3}))
    assert read["in"] is read["out"] and read["in"].tolist() == tied.tolist()


def test_pipes_and_files_that_cannot_be_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe: is a pipe; give the path of a file of weights"):
        unpickle_arrays(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="no: there is no such file of weights"):
        unpickle_arrays(tmp_path / "no")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, [])
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(WeightsError, match=r"cannot be opened \(Permission denied\); check its permissions"):
        unpickle_arrays(path)
