from __future__ import annotations

import collections
import os
import pickle

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
    assert type(pickle.loads(pickle.dumps(read["a"], protocol))) is np.ndarray


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
    with pytest.raises(WeightsError, match=r"weights.pdparams: not a whole pickle \(.*\); fetch the file again"):
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


def test_an_array_that_is_never_given_its_contents_is_empty(tmp_path):
    reconstruct = np.zeros(1).__reduce__()[0]
    for call in Hostile(reconstruct, np.ndarray, (9, 9), b"f"), Hostile(np.ndarray, (9, 9), np.dtype("f8")):
        assert unpickle_arrays(written(tmp_path, call)).shape == (0,)
    for data, reason in (b"short", "not a whole pickle"), (np.zeros(1), "an array in the memory of a _Array"):
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
