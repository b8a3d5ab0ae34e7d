"""Random files of torch's, read in a child process: `python -m tests.weights.fuzz_torch_file FIRST COUNT`."""

from __future__ import annotations

import collections
import io
import json
import random
import resource
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.io.fuzz_unpickle import NAMES, mutated, program
from videozoo.errors import WeightsError
from videozoo.weights.importer import read_foreign

TORCH_NAMES = [
    *(
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch.nn.parameter Parameter",
        "torch Size",
    ),
    *("collections Counter", "torch FloatStorage", "torch Tensor", "torch.storage UntypedStorage", "torch float32"),
    *(
        "torch._tensor _rebuild_from_type_v2",
        "torch._utils _rebuild_sparse_tensor",
        "torch device",
        "torch FloatTensor",
    ),
]


def archives() -> list[dict[str, bytes]]:
    """The entries of files as torch writes them, by name."""
    state = collections.OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(2, dtype=torch.int64))
    state._metadata = {"": {"version": 1}}
    values = [
        {"state_dict": state, "step": 7, "counts": collections.Counter({3: 1}), "x": {1, "a"}},
        {"w": torch.nn.Parameter(state["a"]), "half": torch.ones(2, dtype=torch.bfloat16)},
        {
            "size": state["a"].shape,
            "part": state["a"][:, 1:],
            "bytes": b"\xff",
            "dtype": torch.float16,
            "n": [None, 1.5],
        },
    ]
    found = []
    for value in values:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        with zipfile.ZipFile(buffer) as archive:
            found.append({name: archive.read(name) for name in archive.namelist()})
    return found


def write(path: Path, entries: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)


def main(first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    NAMES.extend(TORCH_NAMES)
    answers: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.pt")
        whole = archives()
        write(path, whole[0])
        assert list(read_foreign(path)) == ["a", "b"]
        resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
        start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(first, first + count):
            print(seed, file=sys.stderr, flush=True)  # the last line is the one that a crash is due to
            rng = random.Random(seed)
            entries = dict(rng.choice(whole))
            own = entries["archive/data.pkl"]
            made = mutated(rng, lambda _, own=own: own) if seed % 4 else b"\x80\x02" + program(rng)[2:]
            write(path, {**entries, "archive/data.pkl": made})
            try:
                read_foreign(path)
                answers["read"] += 1
            except WeightsError as error:
                message = str(error)
                assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 600, message
                answers["damaged" if "fetch the file again" in message else "refused"] += 1
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kib
    print(json.dumps({**answers, "grown_mib": grown_kib >> 10}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
