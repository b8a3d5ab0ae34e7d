"""Boundary matching: features at points inside and around every (duration, start) pair of a sequence.

Paper: Lin et al., BMN, arXiv:1907.09702, section 3.3.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from videozoo.errors import ConfigError
from videozoo.shapes import Float

__all__ = ["BoundaryMatching", "matching_weights"]


class BoundaryMatching(nn.Module):
    """Samples N points of each segment and joins them in one linear layer: boundary matching plus convolution.

    The paper multiplies the t columns by a dense mask `[t, N d t]` and convolves over N. Both are linear, so here the
    columns are projected first, once for each of the N points, and sampled afterwards by a sparse matrix: the
    `[b c N d t]` tensor of samples never exists.

    Input:  features [b, c, t].
    Output: [b, out_channels, d, t]; cell (i, s) is the segment of i + 1 columns from column s. Cells that end
            after the last column hold the bias.

    Args:
        num_snippets: columns t of the sequence.
        max_duration: rows d, the longest segment in columns.
        num_samples: points N of a segment.
        num_subsamples: evenly spaced positions averaged into one point.
        boundary_ratio: reach of the sampling beyond both ends, as a share of the segment's length.
        clamp_before_start: positions in (-1, 0) read the first column unweighted, as published weights expect,
            instead of fading to zero as after the last column.

    Raises:
        ConfigError: `max_duration` exceeds `num_snippets`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_snippets: int = 100,
        max_duration: int = 100,
        num_samples: int = 32,
        num_subsamples: int = 3,
        boundary_ratio: float = 0.5,
        clamp_before_start: bool = False,
    ):
        super().__init__()
        if not 1 <= max_duration <= num_snippets:
            raise ConfigError(f"boundary matching: max_duration is {max_duration}; needs 1..{num_snippets} columns")
        self.num_snippets, self.max_duration = num_snippets, max_duration
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, num_samples))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight.flatten(1))
        rows, columns, values = matching_weights(
            num_snippets,
            max_duration,
            num_samples=num_samples,
            num_subsamples=num_subsamples,
            boundary_ratio=boundary_ratio,
            clamp_before_start=clamp_before_start,
        )
        shape = (max_duration * num_snippets, num_samples * num_snippets)
        self._register("forward", rows, columns, values, shape)
        self._register("backward", columns, rows, values, shape[::-1])

    def _register(
        self, way: str, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]
    ) -> None:
        """Registers a compressed sparse matrix as buffers that follow the device and dtype, outside of the state."""
        order = np.lexsort((columns, rows))
        starts = np.concatenate([[0], np.bincount(rows, minlength=shape[0]).cumsum()])
        parts = {"starts": starts.astype(np.int32), "columns": columns[order].astype(np.int32)}
        for name, value in {**parts, "values": values[order].astype(np.float32)}.items():
            self.register_buffer(f"{way}_{name}", torch.from_numpy(value), persistent=False)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b _ _ t"]:
        b, _, t = x.shape
        if t != self.num_snippets:
            raise ConfigError(
                f"boundary matching: the input has {t} columns; the layer is built for {self.num_snippets}"
            )
        projected = x.permute(2, 0, 1).reshape(1, t * b, -1) @ self.weight.permute(2, 1, 0)  # [N, t b, c]
        projected = projected.reshape(self.weight.shape[2] * t, -1)
        dtype = torch.float64 if projected.dtype == torch.float64 else torch.float32
        if torch.compiler.is_exporting():
            sampled = self._dense(dtype) @ projected.to(dtype)
        else:
            sampled = _SparseProduct.apply(projected.to(dtype), *self._sparse("forward"), *self._sparse("backward"))
        sampled = sampled.to(projected.dtype).unflatten(1, (b, -1)) + self.bias
        return sampled.permute(1, 2, 0).unflatten(2, (self.max_duration, t))

    def _sparse(self, way: str) -> list[Tensor]:
        return [self.get_buffer(f"{way}_{name}") for name in ("starts", "columns", "values")]

    def _dense(self, dtype: torch.dtype) -> Tensor:
        """Returns the dense sampling matrix, for exported graphs, which have no sparse tensors."""
        starts, columns, values = self._sparse("forward")
        rows = (
            torch.bucketize(torch.arange(len(columns), device=starts.device), starts, right=True, out_int32=False) - 1
        )
        width = self.weight.shape[2] * self.num_snippets
        flat = torch.zeros((len(starts) - 1) * width, dtype=dtype, device=values.device)
        at = rows * width + columns.long()
        return flat.scatter(0, at, values.to(dtype)).view(-1, width)


class _SparseProduct(torch.autograd.Function):
    """A constant sparse matrix times a dense one; its transpose is stored too, for an equally fast gradient."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts[3:])
        ctx.num_rows = len(dense)
        return _product(parts[:3], dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _product(ctx.saved_tensors, gradient.contiguous()), *[None] * 6


def _product(parts: tuple[Tensor, ...], dense: Tensor) -> Tensor:
    starts, columns, values = parts
    _silence_beta_warning()
    size = (len(starts) - 1, len(dense))
    matrix = torch.sparse_csr_tensor(starts, columns, values.to(dense.dtype), size, check_invariants=False)
    return matrix @ dense


@functools.cache
def _silence_beta_warning() -> None:
    """Silences torch's warning, once a process, that its compressed sparse matrices are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.eye(1).to_sparse_csr()


def matching_weights(
    num_snippets: int,
    max_duration: int,
    *,
    num_samples: int = 32,
    num_subsamples: int = 3,
    boundary_ratio: float = 0.5,
    clamp_before_start: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (rows, columns, values) of the sampling matrix's non-zeros, float64; row `i t + s`, column `n t + t'`.

    Positions are interpolated linearly between columns; values outside of the sequence are zero.
    """
    duration, start = np.nonzero(np.add.outer(np.arange(max_duration), np.arange(num_snippets)) < num_snippets)
    reach = (duration + 1.0) * boundary_ratio
    first, last = start - reach, start + duration + reach
    num_positions = num_samples * num_subsamples
    position = first[:, None] + ((last - first) / (num_positions - 1.0))[:, None] * np.arange(num_positions)
    cell = np.broadcast_to((duration * num_snippets + start)[:, None], position.shape)
    point = np.broadcast_to(np.arange(num_positions) // num_subsamples, position.shape)

    if clamp_before_start:
        position = np.where((position > -1) & (position < 0), 0.0, position)
    below = np.floor(position)
    share = position - below
    column = np.stack([below, below + 1]).astype(np.int64)
    value = np.stack([1 - share, share]) / num_subsamples
    kept = (column >= 0) & (column < num_snippets) & (value > 0)
    width = num_samples * num_snippets
    flat = (cell * width + point * num_snippets + column)[kept]
    unique, where = np.unique(flat, return_inverse=True)
    return unique // width, unique % width, np.bincount(where, weights=value[kept])
