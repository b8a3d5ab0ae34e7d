"""The parameters and inputs of the reference runs, rebuilt from names and seeds, and how far arrays differ.

Every array is drawn by numpy's PCG64: parameters from the SHA-256 of their original name, inputs from a
stated seed.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # PaddleVideo's side draws by this rule, too, and has no torch
    from torch import Tensor

__all__ = [
    "input2",
    "inputs1",
    "inputs2",
    "own_err",
    "param1",
    "param2",
    "params1",
    "params2",
    "rel_err",
    "slice_of",
]


def rel_err(ours: Any, reference: Any) -> float:
    """max |difference| / max |reference|; infinite where shapes differ or only one of the two is nan."""
    a, b = (np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=np.float64) for x in (ours, reference))
    if a.shape != b.shape:
        return math.inf
    known = ~np.isnan(b)
    if np.isnan(a[known]).any() or not np.isnan(a[~known]).all():
        return math.inf
    if not known.any():
        return 0.0
    difference = float(np.abs(a[known] - b[known]).max())
    return difference / float(np.abs(b[known]).max()) if difference else 0.0


def own_err(ours: Any, reference: Any, *, floor: float = 1e-6) -> float:
    """Largest |difference| / |reference|, each beside its own size; values below `floor` of the largest are noise.

    The noise of a gradient that is 0 but for rounding, such as a bias's before a batch norm, is as large as the others'
    rounding: it is measured beside the floor.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (ours, reference))
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return math.inf
    size = np.maximum(np.abs(b), floor * np.nanmax(np.abs(b)))
    return float(np.nanmax(np.abs(a - b) / size)) if np.nanmax(size) else float(np.nanmax(np.abs(a)) > 0)


def slice_of(array: Any, size: int) -> np.ndarray:
    """`size` values spread evenly over the flattened array."""
    flat = np.asarray(array).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, size).astype(np.int64)]


# --- PaddleVideo 2.x ----------------------------------------------------------------------------------------


def param2(
    name: str, shape: Sequence[int], *, gain: float = 1.0, overrides: Sequence[Mapping[str, Any]] = ()
) -> np.ndarray:
    rng = _rng_of(name)
    last = name.rpartition(".")[2]
    for rule in overrides:
        if re.search(rule["match"], name):
            draw = rng.normal if rule["dist"] == "normal" else rng.uniform
            return np.asarray(draw(rule["a"], rule["b"], shape), np.float32)
    if "_variance" in last or (len(shape) == 1 and last == "weight"):
        value = rng.uniform(0.5, 1.5, shape)
    elif "_mean" in last:
        value = rng.normal(0, 0.1, shape)
    elif last.startswith("bias"):
        value = rng.normal(0, 0.05, shape)
    elif last.startswith("weight") and len(shape) >= 2:
        fan_in = math.prod(shape[1:]) if len(shape) >= 3 else shape[0]
        value = rng.normal(0, gain * math.sqrt(2.0 / fan_in), shape)
    else:
        value = rng.normal(0, 0.02, shape)
    return np.asarray(value, np.float32)


def params2(manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every floating-point entry of the original state dict, aliases too; the model makes integer ones."""
    rule = manifest["param_rule"]
    state = {
        name: param2(name, shape, gain=rule["gain"], overrides=rule["overrides"])
        for name, shape, dtype in manifest["state_dict"]
        if dtype.startswith("float")
    }
    return state | {
        alias: state[name] for alias, name in manifest.get("state_dict_aliases", {}).items() if name in state
    }


def input2(
    *, seed: int, shape: Sequence[int], kind: str = "normal", lo: float = 0, hi: float = 1, **_: Any
) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed))
    if kind == "int":
        return rng.integers(int(lo), int(hi), tuple(shape)).astype(np.int64)
    value = rng.standard_normal(tuple(shape)) if kind == "normal" else rng.uniform(lo, hi, tuple(shape))
    return value.astype(np.float32)


def inputs2(specs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    import torch

    return {spec["name"]: torch.from_numpy(input2(**spec)) for spec in specs}


# --- the static-graph models of 2019 and 2020 ---------------------------------------------------------------


def param1(name: str, shape: Sequence[int], kind: str) -> np.ndarray:
    rng = _rng_of(name)
    if kind in ("bn_var", "bn_scale", "vector"):
        value = rng.uniform(0.5, 1.5, shape)
    elif kind == "bn_mean":
        value = rng.normal(0, 0.1, shape)
    elif kind == "bias":
        value = rng.normal(0, 0.05, shape)
    else:
        fan_in = math.prod(shape[1:]) if len(shape) >= 3 else shape[0]
        value = rng.normal(0, math.sqrt(2.0 / fan_in), shape)
    return np.asarray(value, np.float32)


def params1(manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every parameter by its original name, but for the constants that a model computes itself."""
    kinds = manifest["kinds"]
    return {
        name: param1(name, shape, kinds[name]) for name, shape in manifest["parameters"] if kinds[name] != "constant"
    }


def inputs1(specs: Sequence[Mapping[str, Any]], stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs by name: literal, drawn by the manifest's rule, or `input_<name>` among the stored arrays."""
    return {spec["name"]: _input1(spec, stored) for spec in specs}


def _input1(spec: Mapping[str, Any], stored: Mapping[str, np.ndarray]) -> np.ndarray:
    if "value" in spec and spec["value"] is not None:
        return np.asarray(spec["value"], spec["dtype"]).reshape(spec["shape"])
    if "seed" not in spec:
        return stored[f"input_{spec['name']}"]
    rng, rule = np.random.Generator(np.random.PCG64(spec["seed"])), spec["rule"]
    if bounds := re.search(r"integers\((-?\d+),\s*(-?\d+)", rule):
        return rng.integers(int(bounds[1]), int(bounds[2]), spec["shape"]).astype(spec["dtype"])
    value = rng.standard_normal(spec["shape"]) if "standard_normal" in rule else rng.random(spec["shape"])
    value = value.astype(np.float32)
    scale = re.search(r"\* float32\(([\d.]+)\)", rule)
    return value * np.float32(scale[1]) if scale else value


def _rng_of(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")))
