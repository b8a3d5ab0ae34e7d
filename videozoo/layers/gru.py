"""A gated recurrent unit whose reset gate acts before the recurrent product, as in the paper and in PaddlePaddle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videozoo.layers.sequence import run_steps
from videozoo.shapes import Float

__all__ = ["GRUCell", "run_gru"]


class GRUCell(nn.Module):
    """One step of a GRU, for inputs that are already projected.

    Paper: Cho et al., arXiv:1406.1078, eq. 5 to 8. `nn.GRU` differs: its reset gate acts after the recurrent product.

    Input:  projected inputs [b, 3h] for update, reset and candidate, and the state [b, h].
    Output: the next state [b, h].
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.gates = nn.Linear(hidden_size, 2 * hidden_size)
        self.candidate = nn.Linear(hidden_size, hidden_size)

    def forward(self, inputs: Float[Tensor, "b _"], state: Float[Tensor, "b h"]) -> Float[Tensor, "b h"]:
        of_gates, of_candidate = inputs.split([2 * self.hidden_size, self.hidden_size], dim=-1)
        update, reset = (of_gates + self.gates(state)).sigmoid().chunk(2, dim=-1)
        candidate = torch.tanh(of_candidate + self.candidate(reset * state))
        return state + update * (candidate - state)


def run_gru(cell: GRUCell, inputs: Float[Tensor, "b t _"]) -> Float[Tensor, "b t _"]:
    """Returns the states `[b t h]` of a cell that starts at zero, for projected inputs `[b t 3h]`."""
    start = inputs.new_zeros(inputs.shape[0], cell.hidden_size)
    return run_steps(lambda state, row: (cell(row, state[0]),), (start,), inputs)
