"""Compares reference folders with what videozoo computes: one JSON line each, exit status 1 if any is off."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.parity import cases
from tests.parity.arrays import reading, unread
from tests.parity.unread import reason_unread

TOLERANCE = 1e-4
# The reference trains in float32, ours in float64, so what differs is the reference's own rounding. Batch norms over a
# few values and rectifiers at their kink make 1e-6 in the loss 1e-3 in the norms of gradients, and the second step,
# which starts there, keeps hardly two digits; so do single values beside the largest. (Ours in float32 is farther off:
# PP-TSN's norms 9e-4 where float64 has 1.4e-4, PP-TSMv2's 2.3e-3 where it has 1e-3.)
LOOSE = {
    "train/grad_l2 each": 5e-2,  # the smallest are a thousandth of the largest
    "train/grad": 2e-3,
    "train/delta_l2": 2e-3,
    "train/delta_slice8 stats": 1e-3,
    "train/delta_slice8 params": 5e-2,
    "train/delta2": 5e-2,
    "train/loss_step2": 5e-2,
}


def tolerance(output: str) -> float:
    return next((loose for prefix, loose in LOOSE.items() if output.startswith(prefix)), TOLERANCE)


def case_modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(cases.__path__):
        yield importlib.import_module(f"{cases.__name__}.{module.name}")


def run(folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """The line to print for a folder, and the error of each output."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    line: dict[str, Any] = {"name": "/".join(folder.resolve().parts[-2:]), "outputs": 0, "passed": False}
    try:
        matching = [module for module in case_modules() if module.matches(folder, manifest)]
        if not matching:
            return {**line, "reason": "no case in tests/parity/cases matches"}, {}
        with reading() as read:
            errors = {name: error for module in matching for name, error in module.compare(folder, manifest)}
    except Exception as error:  # one folder must not keep the others from being compared
        traceback.print_exc()
        return {**line, "reason": f"{type(error).__name__}: {error}"}, {}
    if not errors:
        return {**line, "reason": "nothing was compared"}, {}
    line |= {"outputs": len(errors), **_largest(errors)}
    left = [name for name in unread(folder, read) if reason_unread(line["name"], name) is None]
    if left:
        return {**line, "reason": f"no case reads {len(left)} arrays: {', '.join(left[:20])}"}, errors
    return line | {"passed": all(error <= tolerance(name) for name, error in errors.items())}, errors


def _largest(errors: Mapping[str, float]) -> dict[str, Any]:
    """The largest error of the strict and of the loose outputs, and the output that is nearest to its tolerance."""
    strict = [error for name, error in errors.items() if tolerance(name) == TOLERANCE]
    loose = [error for name, error in errors.items() if tolerance(name) != TOLERANCE]
    return {
        "max_rel_err": max(strict, default=None),
        "max_rel_err_loose": max(loose, default=None),
        "worst": max(errors, key=lambda name: errors[name] / tolerance(name)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--verbose", action="store_true", help="print the error of each output")
    options = parser.parse_args()
    passed = True
    for folder in options.folders:
        line, errors = run(folder)
        passed &= line["passed"]
        print(json.dumps(line), flush=True)
        if options.verbose:
            for name, error in errors.items():
                print(f"  {'ok ' if error <= tolerance(name) else 'OFF'} {error:.2e}  {name}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
