"""Beam search: the likeliest sequences of a model that gives one symbol after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from videozoo.errors import ConfigError

__all__ = ["Found", "beam_search"]

S = TypeVar("S")


class Found(NamedTuple):
    """The sequences found for each of b inputs, best first.

    A sequence holds `lengths` symbols, after which `symbols` repeats the end mark; the mark itself is not counted, nor
    is the start. `log_probs` are sums over the symbols and, where a sequence `is_finished`, its end mark.
    """

    symbols: Tensor  # [b k n] int64
    lengths: Tensor  # [b k] int64
    log_probs: Tensor  # [b k]
    is_finished: Tensor  # [b k] bool; else it was cut at the greatest length


def beam_search(
    step: Callable[[Tensor, S], tuple[Tensor, S]],
    state: S,
    *,
    batch_size: int,
    start: int,
    end: int,
    beam_size: int = 1,
    max_length: int = 80,
    min_length: int = 0,
    length_penalty: float = 0.0,
    device: torch.device | str | None = None,
) -> Found:
    """The `beam_size` best sequences by `step`; 1 is greedy search.

    Sequences that have ended keep their place in the beam, and all compete by log-probability over
    ((5 + length) / 6) ** length_penalty, end mark counted (arXiv:1609.08144, eq. 14): 0 prefers short ones, 1 is nearly
    the mean. A beam that holds every sequence is exhaustive search.

    Args:
        step: from the last symbols `[n]` and a state (tensors `[n ...]`, in any nesting of tuples, lists and dicts) to
            log-probabilities `[n v]` of the next ones and the new state; n = batch_size * beam_size, the beams of one
            input side by side.
        state: the first state, with batch_size rows.
        min_length: no sequence ends before it has so many symbols.
        max_length: symbols of the longest sequence; one that has not ended then is kept whole.

    Raises:
        ConfigError: a size below 1, or lengths that contradict each other.
    """
    for name, value in (("batch_size", batch_size), ("beam_size", beam_size), ("max_length", max_length)):
        if value < 1:
            raise ConfigError(f"beam search: {name} is {value}; it must be at least 1")
    if not 0 <= min_length <= max_length:
        raise ConfigError(f"beam search: min_length is {min_length}; it takes 0..{max_length}, the max_length")
    b, k = batch_size, beam_size
    state = _each(lambda x: x.repeat_interleave(k, dim=0), state)
    symbols = torch.full((b, k, 1), start, dtype=torch.int64, device=device)
    lengths = torch.zeros(b, k, dtype=torch.int64, device=device)
    is_finished = torch.zeros(b, k, dtype=torch.bool, device=device)
    scores = torch.full((b, k), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all beams of an input are the same yet: one goes on
    for position in range(max_length + 1):
        if position == max_length or bool(is_finished.all()):
            break
        log_probs, state = step(symbols[:, :, -1].flatten(), state)
        num_symbols = log_probs.shape[-1]
        log_probs = log_probs.unflatten(0, (b, k)).to(scores.dtype)
        if position < min_length:
            log_probs = log_probs.index_fill(2, torch.tensor([end], device=log_probs.device), -torch.inf)
        stays = torch.full((num_symbols,), -torch.inf, device=log_probs.device)
        stays[end] = 0.0
        totals = scores.unsqueeze(-1) + torch.where(is_finished.unsqueeze(-1), stays, log_probs)
        ranks = totals / _penalty(lengths + 1, length_penalty).unsqueeze(-1)  # of those that ended, the mark is the one
        place = ranks.flatten(1).topk(k, dim=1).indices
        beam, symbol = place // num_symbols, place % num_symbols
        scores = totals.flatten(1).gather(1, place)
        was_finished = is_finished.gather(1, beam)
        is_finished = was_finished | (symbol == end)
        lengths = lengths.gather(1, beam) + (~is_finished).long()
        symbols = symbols.gather(1, beam.unsqueeze(-1).expand(-1, -1, symbols.shape[2]))
        symbols = torch.cat([symbols, symbol.unsqueeze(-1)], dim=2)
        rows = (beam + torch.arange(b, device=beam.device).unsqueeze(1) * k).flatten()
        state = _each(lambda x, rows=rows: x[rows], state)  # type: ignore[misc]
    ranks = scores / _penalty(lengths + is_finished.long(), length_penalty)
    order = ranks.argsort(dim=1, descending=True, stable=True)
    symbols = symbols.gather(1, order.unsqueeze(-1).expand_as(symbols))[:, :, 1:]
    return Found(symbols, lengths.gather(1, order), scores.gather(1, order), is_finished.gather(1, order))


def _penalty(length: Tensor, strength: float) -> Tensor:
    return ((5 + length) / 6) ** strength


def _each(function: Callable[[Tensor], Tensor], state: S) -> S:
    result: S = tree_map(function, state)
    return result
