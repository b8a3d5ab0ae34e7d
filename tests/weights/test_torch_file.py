"""Files of torch's: those that would make torch hash, allocate or read too much are refused before torch sees them."""

import collections
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from videozoo.errors import WeightsError
from videozoo.weights import checkpoint
from videozoo.weights.importer import read_foreign
from videozoo.weights.torch_file import read_torch

FLOATS = b"\x00" * 16
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%stQ"
DEEP = b")" + b"\x85" * 50_000
DOUBLING = b"NN\x86q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))


def archive(path, program, *, records=(("data/0", FLOATS),), method=zipfile.ZIP_STORED, comment=b""):
    """A file as torch writes it, around a pickle that torch would not write."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in (("data.pkl", b"\x80\x02" + program + b"."), ("version", b"3\n"), *records):
            file.writestr(f"archive/{name}", data)
        file.comment = comment
    return path


def legacy(path, program):
    """One as torch wrote it before version 1.6, up to where its storages begin."""
    magic, system = torch.serialization.MAGIC_NUMBER, {"protocol_version": 1001, "little_endian": True}
    first = b"".join(pickle.dumps(value, 2) for value in (magic, 1001, system))
    path.write_bytes(first + b"\x80\x02" + program + b"." + pickle.dumps([], 2))
    return path


def refused(path):
    """The reason, which the readers of checkpoints and of other projects' weights both give in one line."""
    with pytest.raises(WeightsError) as caught:
        read_foreign(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith("; do not trust this file")
    assert "\n" not in message and len(message) < 500
    if path.suffix == ".pt":
        with pytest.raises(WeightsError, match=r"a\.pt: refused, it holds more than tensors and plain values, .*\("):
            checkpoint.read(path)
    return message.removeprefix(f"{path}: ")


PROGRAMS = [
    (b"}" + DEEP + b"Ns", "as a key, not text or a number"),
    (b"}(" + DOUBLING + b"Nu", "as a key, not text or a number"),
    (b"}" + DEEP + b"\x85Ns", "as a key, not text or a number"),
    (b"ccollections\nCounter\n](" + DEEP + b"e\x85R", "it nests its values over 64 deep"),
    (b"ccollections\nCounter\n](N\x85e\x85R", "it counts something other than the items of a dict"),
    (b"cUserList\nCounter\n](N\x85e\x85R", "it counts something other than the items of a dict"),
    (b"ccollections\nOrderedDict\n](" + DOUBLING + b"N\x86e\x85R", "it repeats its values until they are far larger"),
    (b"ccollections\nOrderedDict\n](N\x85N\x86e\x85R", "as a key, not text or a number"),
    (b"cbuiltins\nset\n](" + DOUBLING + b"e\x85R", "it repeats its values until they are far larger"),
    (b"c__builtin__\nset\n](N\x85e\x85R", "as a key, not text or a number"),
    (b"ccollections\nOrderedDict\n)R](N\x85N\x86eb", "it sets attributes by a list"),
    (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R", "it asks for bytearray of a value of type int"),
    (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zlibtR", "it asks to encode with 'zlib'"),
    (b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nset\nctorch\nTensor\n](Ne\x85NtR", "it rebuilds a tensor by"),
    (b"ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R", "it calls 'torch.FloatTensor', which no weights need"),
    (b"ctorch\nTensor\nJ\xff\xff\xff\x7f\x85\x81", "it calls 'torch.Tensor', which no weights need"),
    (b"ctorch.storage\nUntypedStorage\nK\x09\x85R", "it calls 'torch.storage.UntypedStorage', which no weights need"),
    (b"ctorch\n_utils._rebuild_qtensor\n)R", "it calls 'torch._utils._rebuild_qtensor', which no weights need"),
    (b"ctorch\nSize\n" + DEEP + b"\x85R", "it nests its values over 64 deep"),
    (
        TENSOR + b"(" + STORAGE % b"J\xff\xff\xff\x7f" + b"K\x00))\x89NtR",
        "it asks for a storage of 8,589,934,588 bytes",
    ),
    (TENSOR + b"(" + STORAGE % b"J\xff\xff\xff\xff" + b"K\x00))\x89NtR", "it asks for a storage of -4 bytes"),
    (TENSOR + b"(K\x01K\x00))\x89NtR", "it asks for a tensor in something other than a storage"),
]


@pytest.mark.parametrize(("program", "reason"), PROGRAMS)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_what_torch_would_hash_or_allocate(tmp_path, program, reason, form):
    if form == "zip":
        assert reason in refused(archive(tmp_path / "a.pt", program))
    else:
        assert reason in refused(legacy(tmp_path / "a.pth", program))


def test_a_view_is_not_far_larger_than_the_file(tmp_path):
    size = b"(J\xff\xff\xff\x7ft(K\x00t"  # 2**31 numbers, all the same one
    program = b"}X\x01\x00\x00\x00w" + TENSOR + b"(" + STORAGE % b"K\x04" + b"K\x00" + size + b"\x89}tRs"
    assert refused(archive(tmp_path / "a.pt", program)).startswith("it repeats its values until they are far larger")
    torch.save({"w": torch.ones(2).expand(3, 2), "b": torch.ones(1).expand(1000)}, tmp_path / "b.pt")
    assert read_foreign(tmp_path / "b.pt")["w"].shape == (3, 2)


def test_archives_that_unpack_to_more_or_may_be_read_in_several_ways(tmp_path):
    path, program = tmp_path / "a.pt", b"}X\x01\x00\x00\x00w" + TENSOR + b"(" + STORAGE % b"K\x04"
    program += b"K\x00K\x04\x85K\x01\x85\x89}tRs"
    assert list(read_foreign(archive(path, program))) == ["w"]
    zeros = (("data/0", bytes(100 << 20)),)
    assert refused(archive(path, program, records=zeros, method=zipfile.ZIP_DEFLATED)).startswith(
        "it unpacks to 104,85"
    )
    several = "its archive differs from those that torch writes, and can be read in several ways"
    assert refused(archive(path, program, comment=b"x" * 30)).startswith(several)
    assert refused(archive(path, program, records=(("data/0", FLOATS), ("DATA.PKL", b"N.")))).startswith(several)
    whole = archive(path, program).read_bytes()
    path.write_bytes(whole + whole)
    assert refused(path).startswith(several)


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path, is_zip):
    tied = torch.randn(3, 4)
    state = collections.OrderedDict(
        w=tied,
        tied=tied.T,
        part=tied[1:, ::2],
        half=torch.ones(3, dtype=torch.bfloat16),
        flags=torch.tensor([True, False]),
        parameter=torch.nn.Parameter(torch.ones(2)),
        complex=torch.ones(2, dtype=torch.complex64),
        empty=torch.zeros(0, 3),
        scalar=torch.tensor(3),
    )
    state._metadata = {"": {"version": 1}}
    others = {
        "step": 7,
        "name": "x" * 300,
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "counts": collections.Counter({30: 1}),
        "bytes": b"\xff\x00",
        "set": {1, "a"},
        "numbers": [1.5, -(2**70), 1j, None, True],
        ("a", 1): {None: 1},
    }
    torch.save({"state": state, **others}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    read = read_torch(tmp_path / "a.pth")
    assert {key: value for key, value in read.items() if key != "state"} == others
    assert read["state"]._metadata == state._metadata and list(read["state"]) == list(state)
    for name, value in state.items():
        assert torch.equal(read["state"][name], value) and read["state"][name].dtype == value.dtype


def test_what_training_needs_to_go_on_is_read(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    content = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "rng": torch.get_rng_state()}
    torch.save(content, tmp_path / "a.pt")
    read = read_torch(tmp_path / "a.pt")
    assert read["schedule"] == content["schedule"] and torch.equal(read["rng"], content["rng"])
    moments = read["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(moments, content["optimizer"]["state"][0]["exp_avg"])


def test_arrays_of_numpy_beside_the_tensors_are_passed_over(tmp_path):
    torch.save({"log": [np.arange(3.0), np.float32(2)], "state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    assert read_foreign(tmp_path / "a.pth")["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("first", "count"), [(0, 300), *(pytest.param(n, 1000, marks=pytest.mark.long) for n in range(300, 10_300, 1000))]
)
def test_random_files_are_read_or_refused(first, count):
    command = [sys.executable, "-m", "tests.weights.fuzz_torch_file", str(first), str(count)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert child.returncode == 0, f"seed {child.stderr[-2000:]}"
    answers = json.loads(child.stdout)
    assert answers.pop("grown_mib") < 256
    assert sum(answers.values()) == count and min(answers.values()) > 5 and len(answers) == 3, answers
