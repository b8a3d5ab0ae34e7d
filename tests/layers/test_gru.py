"""The GRU against its equations, written out number by number."""

import math

import torch
from torch.testing import assert_close

from videozoo.layers.gru import GRUCell, run_gru


def naive(cell, inputs, state):
    """arXiv:1406.1078, eq. 5 to 8, for one sequence at one moment."""

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    h = len(state)
    gates, gate_bias = cell.gates.weight.tolist(), cell.gates.bias.tolist()
    table, bias = cell.candidate.weight.tolist(), cell.candidate.bias.tolist()
    update, reset = [0.0] * h, [0.0] * h
    for j in range(h):
        update[j] = sigmoid(inputs[j] + gate_bias[j] + sum(gates[j][i] * state[i] for i in range(h)))
        reset[j] = sigmoid(inputs[h + j] + gate_bias[h + j] + sum(gates[h + j][i] * state[i] for i in range(h)))
    new = []
    for j in range(h):
        mixed = sum(table[j][i] * reset[i] * state[i] for i in range(h))
        candidate = math.tanh(inputs[2 * h + j] + bias[j] + mixed)
        new.append((1 - update[j]) * state[j] + update[j] * candidate)
    return new


def test_every_state():
    torch.manual_seed(0)
    cell, inputs = GRUCell(3), torch.randn(2, 4, 9)
    states = run_gru(cell, inputs)
    for row in range(2):
        state = [0.0] * 3
        for t in range(4):
            state = naive(cell, inputs[row, t].tolist(), state)
            assert_close(states[row, t], torch.tensor(state), atol=1e-5, rtol=1e-5)
