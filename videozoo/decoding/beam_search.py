"""Beam search: the likeliest sequences of a model that predicts one symbol at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from videozoo.contracts.ranking import best_first
from videozoo.errors import ConfigError

__all__ = ["Found", "beam_search"]


class Found(NamedTuple):
    """The sequences for each of b inputs, best first.

    A sequence holds `lengths` symbols, after which `symbols` repeats the end mark; the mark itself is not counted, nor
    is the start. `log_probs` are sums over the symbols and, where a sequence `is_finished`, its end mark.
    """

    symbols: np.ndarray  # [b k n] int64
    lengths: np.ndarray  # [b k] int64
    log_probs: np.ndarray  # [b k] float32, or the type of the scores if that is wider
    is_finished: np.ndarray  # [b k] bool; False: cut at the greatest length


def beam_search(
    step: Callable[[np.ndarray, Any], tuple[np.ndarray, Any]],
    state: Any,
    *,
    batch_size: int,
    start: int,
    end: int,
    beam_size: int = 1,
    max_length: int = 80,
    min_length: int = 0,
    length_penalty: float = 0.0,
) -> Found:
    """Returns the `beam_size` best sequences by `step`; a size of 1 is greedy search.

    Sequences that have ended keep their place in the beam, and all compete by log-probability over
    ((5 + length) / 6) ** length_penalty, end mark counted (arXiv:1609.08144, eq. 14): 0 prefers short ones, 1 is nearly
    the mean. A beam that holds every sequence is exhaustive search. In a tie the first of the beam wins.

    Args:
        step: maps the last symbols `[n]` and a state (an array `[n ...]`, a tensor, or any object that an array of row
            numbers indexes) to log-probabilities `[n v]` of the next symbols and the new state; n = batch_size *
            beam_size, with the beams of one input in adjacent rows.
        state: the first state, with batch_size rows.
        min_length: least number of symbols of a sequence.
        max_length: largest number of symbols; a sequence that has not ended by then is kept.

    Raises:
        ConfigError: a size below 1, or lengths that contradict each other.
    """
    _check_sizes(min_length, batch_size=batch_size, beam_size=beam_size, max_length=max_length)
    b, k = batch_size, beam_size
    state = state[np.repeat(np.arange(b), k)]
    symbols = np.full((b, k, 1), start, np.int64)
    lengths = np.zeros((b, k), np.int64)
    is_finished = np.zeros((b, k), bool)
    scores = np.full((b, k), -np.inf, np.float32)
    scores[:, 0] = 0.0  # all beams of an input are still equal, so only one continues
    for position in range(max_length):
        if is_finished.all():
            break
        log_probs, state = step(symbols[:, :, -1].ravel(), state)
        num_symbols = log_probs.shape[-1]
        log_probs = log_probs.reshape(b, k, num_symbols)
        if position < min_length:
            log_probs = np.where(np.arange(num_symbols) == end, -np.inf, log_probs).astype(log_probs.dtype)
        stays = np.full(num_symbols, -np.inf, log_probs.dtype)
        stays[end] = 0.0
        totals = scores[..., None] + np.where(is_finished[..., None], stays, log_probs)
        ranks = totals / _penalty(lengths + 1, length_penalty)[..., None]  # + 1: the new symbol or the end mark
        place = _best(ranks.reshape(b, -1), k)
        beam, symbol = place // num_symbols, place % num_symbols
        scores = np.take_along_axis(totals.reshape(b, -1), place, 1)
        is_finished = np.take_along_axis(is_finished, beam, 1) | (symbol == end)
        lengths = np.take_along_axis(lengths, beam, 1) + ~is_finished
        symbols = np.concatenate([np.take_along_axis(symbols, beam[..., None], 1), symbol[..., None]], axis=2)
        state = state[(beam + np.arange(b)[:, None] * k).ravel()]
    ranks = scores / _penalty(lengths + is_finished, length_penalty)
    order = best_first(ranks)
    symbols = np.take_along_axis(symbols, order[..., None], 1)[:, :, 1:]
    return Found(symbols, *(np.take_along_axis(part, order, 1) for part in (lengths, scores, is_finished)))


def _check_sizes(min_length: int, **sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"beam search: {name} is {value}; it must be at least 1")
    longest = sizes["max_length"]
    if not 0 <= min_length <= longest:
        raise ConfigError(f"beam search: min_length is {min_length}; it must be in 0..{longest}, up to max_length")


def _best(ranks: np.ndarray, k: int) -> np.ndarray:
    """Returns the places `[b k]` of the k highest of each row, best first; sorts only the top of each row."""
    bounds = np.partition(ranks, -k, axis=1)[:, -k]
    upper = [np.flatnonzero(~(row < bound)) for row, bound in zip(ranks, bounds, strict=True)]
    return np.stack([near[best_first(row[near])[:k]] for row, near in zip(ranks, upper, strict=True)])


def _penalty(length: np.ndarray, strength: float) -> np.ndarray:
    penalty: np.ndarray = ((5 + length) / 6) ** strength
    return penalty
