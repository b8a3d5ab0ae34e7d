"""Beam search against every sequence of a tiny vocabulary, one by one."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from videozoo.decoding.activations import log_softmax
from videozoo.decoding.beam_search import beam_search
from videozoo.errors import ConfigError

START, END, VOCABULARY = 0, 1, 4
SEED = 2  # of a grammar in which the greedy choice is not the best


class Grammar:
    """Log-probabilities by input, position and last symbol, drawn at random."""

    def __init__(self, num_inputs: int = 3, *, max_length: int = 4, end_bias: float = 0.0):
        rng = np.random.default_rng(SEED)
        scores = 2 * rng.standard_normal((num_inputs, max_length, VOCABULARY, VOCABULARY))
        scores[..., END] += end_bias
        self.table = log_softmax(scores)
        self.num_inputs, self.max_length = num_inputs, max_length
        self.rows_seen = set()

    def step(self, last, state):
        which, position = state.T
        self.rows_seen.add(len(last))
        return self.table[which, position, last], state + [0, 1]

    def search(self, **options):
        state = np.stack([np.arange(self.num_inputs), np.zeros(self.num_inputs, np.int64)], axis=1)
        given = {"batch_size": self.num_inputs, "start": START, "end": END, "max_length": self.max_length}
        return beam_search(self.step, state, **given | options)

    def all_sequences(self, which, *, length_penalty=0.0, min_length=0):
        """(rank, log-probability, symbols, whether it ended) of every sequence, best first."""
        found = []
        others = [symbol for symbol in range(VOCABULARY) if symbol != END]
        for length in range(min_length, self.max_length + 1):
            for symbols in itertools.product(others, repeat=length):
                ended = length < self.max_length
                path = [START, *symbols, *([END] if ended else [])]
                total = sum(float(self.table[which, i, a, b]) for i, (a, b) in enumerate(itertools.pairwise(path)))
                rank = total / ((5 + len(path) - 1) / 6) ** length_penalty
                found.append((rank, total, list(symbols), ended))
        return sorted(found, key=lambda row: -row[0])


def said(found, which, place=0):
    return found.symbols[which, place, : found.lengths[which, place]].tolist()


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("end_bias", [0.0, 2.0])
def test_a_wide_beam_finds_what_exhaustive_search_finds(length_penalty, end_bias):
    grammar = Grammar(end_bias=end_bias)
    found = grammar.search(beam_size=200, length_penalty=length_penalty)
    for which in range(grammar.num_inputs):
        best = grammar.all_sequences(which, length_penalty=length_penalty)
        for place in range(10):
            _, total, symbols, ended = best[place]
            assert said(found, which, place) == symbols
            assert bool(found.is_finished[which, place]) == ended
            assert math.isclose(float(found.log_probs[which, place]), total, abs_tol=1e-5)


def test_greedy_takes_the_best_symbol_each_time():
    grammar = Grammar()
    found = grammar.search(beam_size=1)
    for which in range(grammar.num_inputs):
        last, symbols, total = START, [], 0.0
        for position in range(grammar.max_length):
            row = grammar.table[which, position, last]
            last = int(row.argmax())
            total += float(row[last])
            if last == END:
                break
            symbols.append(last)
        assert said(found, which) == symbols
        assert math.isclose(float(found.log_probs[which, 0]), total, abs_tol=1e-5)


def test_a_wider_beam_is_no_worse_here_and_a_narrow_one_misses_something():
    grammar = Grammar()
    best = [[float(grammar.search(beam_size=k).log_probs[i, 0]) for k in (1, 2, 200)] for i in range(3)]
    assert all(narrow <= wide + 1e-6 for narrow, _, wide in best)
    assert any(narrow < wide - 1e-3 for narrow, _, wide in best)


def test_inputs_of_a_batch_do_not_meet():
    together = Grammar().search(beam_size=3)
    for which in range(3):
        grammar = Grammar()
        grammar.table, grammar.num_inputs = grammar.table[which : which + 1], 1
        alone = grammar.search(beam_size=3)
        assert said(alone, 0) == said(together, which)
        assert_allclose(alone.log_probs[0], together.log_probs[which], rtol=1e-6)


def test_a_sequence_that_is_cut_keeps_its_last_word():
    grammar = Grammar(end_bias=-50.0)
    found = grammar.search(beam_size=3)
    assert (found.lengths == grammar.max_length).all() and not found.is_finished.any()
    assert found.symbols.shape == (3, 3, grammar.max_length)


def test_a_least_length_holds():
    grammar = Grammar(end_bias=5.0)
    assert (grammar.search(beam_size=200).lengths[:, 0] == 0).any()
    found = grammar.search(beam_size=200, min_length=2)
    for which in range(3):
        assert said(found, which) == grammar.all_sequences(which, min_length=2)[0][2]


def test_the_search_ends_when_all_beams_have():
    grammar = Grammar(end_bias=50.0)
    found = grammar.search(beam_size=1)
    assert found.symbols.shape[2] == 1 and found.is_finished.all() and (found.lengths == 0).all()


def test_the_first_of_equals_wins():
    grammar = Grammar(num_inputs=1)
    grammar.table = np.full_like(grammar.table, -math.log(VOCABULARY))
    found = grammar.search(beam_size=3)
    assert [said(found, 0, place) for place in range(3)] == [[], [0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, r"beam search: beam_size is 0; it must be at least 1"),
        ({"max_length": 0}, r"beam search: max_length is 0; it must be at least 1"),
        ({"min_length": 9}, r"beam search: min_length is 9; it must be in 0..4, up to max_length"),
    ],
)
def test_sizes_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        Grammar().search(**options)
