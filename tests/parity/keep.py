"""Keeps the small part of reference folders that the default suite needs, so that the project stands alone.

    python -m tests.parity.keep FOLDER...     # writes tests/parity/kept/<name>/

Of a model that is its evaluation: sizes, parameter names, and outputs under rebuilt parameters. Of the 2019
models the damped run, whose soft-max does not saturate.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

KEPT = Path(__file__).parent / "kept"
MANIFEST = (
    "model",
    "source",
    "model_cfg",
    "config",
    "state_dict",
    "state_dict_aliases",
    "param_rule",
    "inputs",
    "labels",
    "parameters",
    "kinds",
)
ARRAYS = ("out/", "damped", "test256_damped", "input_")


def keep(folder: Path) -> Path:
    """Writes the kept form of `folder` and says where."""
    target = KEPT / "_".join(folder.resolve().parts[-2:])
    target.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    small = {key: manifest[key] for key in MANIFEST if key in manifest}
    if lengths := [note for note in manifest.get("notes", ()) if "lengths" in note]:
        small["notes"] = lengths  # of packed sequences: nothing else says them
    (target / "manifest.json").write_text(json.dumps(small, separators=(",", ":")) + "\n", encoding="utf-8")
    with np.load(folder / "expected.npz", allow_pickle=False) as arrays:
        kept = {k: arrays[k] for k in arrays.files if k.startswith(ARRAYS)}
        if not kept:  # of sigmoids, which need no damping
            kept = {k: arrays[k].astype(np.float32) for k in arrays.files if k.startswith("eval_")}
        np.savez_compressed(target / "expected.npz", **kept)
    return target


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(keep(Path(argument)))
