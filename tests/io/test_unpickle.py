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
        table={"a": "name_0", "n": [1, (2.0, None, True)]},
    )
    read = unpickle_arrays(written(tmp_path, arrays, protocol))
    assert list(read) == list(arrays) and read["table"] == arrays["table"]
    for name in "abcd":
        np.testing.assert_array_equal(read[name], arrays[name])
        assert read[name].dtype == arrays[name].dtype


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
