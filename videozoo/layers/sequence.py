"""Sequences of different lengths in one batch; padding does not change the result.

A batch of sequences is `[b t d]` with a mask `[b t]`, True for real frames; padding follows the frames.
The mask `None` means no padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.shapes import Bool, Float

__all__ = [
    "PeepholeLSTM",
    "masked_norm",
    "masked_softmax",
    "mean_features",
    "plain_lstm",
    "reverse",
    "run_steps",
    "split_modalities",
    "zero_padding",
]

S = TypeVar("S", bound=tuple[Tensor, ...])


def split_modalities(
    x: Float[Tensor, "b t _"], mask: Bool[Tensor, "b t ..."] | None, feature_dims: tuple[int, ...], *, where: str
) -> list[tuple[Tensor, Tensor | None]]:
    """Splits features `[b t sum(feature_dims)]` into one (features, mask) per modality.

    A mask `[b t m]` gives each of the m modalities its own length.

    Raises:
        ConfigError: the features have a different width, or the mask has a different shape.
    """
    if x.ndim != 3 or x.shape[2] != sum(feature_dims):
        raise ConfigError(
            f"{where}: the input has shape {tuple(x.shape)}; needs features [b t {sum(feature_dims)}] "
            f"(the widths {' + '.join(map(str, feature_dims))} side by side)"
        )
    if mask is not None and tuple(mask.shape) not in ((*x.shape[:2],), (*x.shape[:2], len(feature_dims))):
        raise ConfigError(
            f"{where}: the mask has shape {tuple(mask.shape)}; needs [b t] = {tuple(x.shape[:2])}, "
            f"or one more axis of {len(feature_dims)} modalities"
        )
    parts = x.split(feature_dims, dim=2)
    if mask is None or mask.ndim == 2:
        return [(part, mask) for part in parts]
    return [(part, mask[..., i]) for i, part in enumerate(parts)]


def mean_features(
    x: Float[Tensor, "b t _"], mask: Bool[Tensor, "b t ..."] | None, feature_dims: tuple[int, ...], *, where: str
) -> Float[Tensor, "b _"]:
    """Returns the mean over real frames `[b d]` of features; see `split_modalities`."""
    means = []
    for part, known in split_modalities(x, mask, feature_dims, where=where):
        num_frames = part.shape[1] if known is None else known.sum(1, keepdim=True)
        means.append(zero_padding(part, known).sum(1) / num_frames)
    return torch.cat(means, dim=-1)


def masked_softmax(scores: Float[Tensor, "b t k"], mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t k"]:
    """Returns the soft-max over time of scores `[b t k]`; padding gets exactly 0."""
    if mask is not None:
        scores = scores.masked_fill(~mask.unsqueeze(-1), torch.finfo(scores.dtype).min)
    return zero_padding(scores.softmax(dim=1), mask)


def zero_padding(x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t d"]:
    """Returns `x` `[b t d]` with zeros in place of padding."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)


def masked_norm(
    norm: nn.BatchNorm1d, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, "b t d"]:
    """Applies batch normalisation to frames `[b t d]`, with the statistics of real frames only."""
    if mask is None or not norm.training:
        y: Tensor = norm(x.flatten(0, 1))
        return y.unflatten(0, x.shape[:2])
    out = torch.zeros_like(x)
    out[mask] = norm(x[mask]).to(out.dtype)
    return out


def reverse(x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t d"]:
    """Reverses each sequence, keeping padding at the end; applying it twice is the identity."""
    if mask is None:
        return x.flip(1)
    num_frames = mask.sum(1, keepdim=True)
    at = torch.arange(x.shape[1], device=x.device)
    index = torch.where(at < num_frames, num_frames - 1 - at, at)
    return x.gather(1, index.unsqueeze(-1).expand_as(x))


def run_steps(step: Callable[[S, Tensor], S], state: S, inputs: Tensor) -> Tensor:
    """Applies `step` to the rows of `inputs` `[b t d]` in turn and returns the first part of each state, `[b t h]`.

    An export contains a scan, so that the graph takes any number of rows.

    Args:
        step: (state, row `[b d]`) to the next state; a state is a tuple of tensors `[b ...]`.
    """
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        def scanned(state: S, row: Tensor) -> tuple[S, Tensor]:
            following = step(state, row)
            return following, following[0].clone()  # a scan's outputs may not share memory

        start = tuple(part.clone() for part in state)
        _, states = scan(scanned, start, inputs.transpose(0, 1), dim=0)
        rows: Tensor = states.transpose(0, 1)
        return rows
    outputs = []
    for row in inputs.unbind(1):
        state = step(state, row)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1)


def plain_lstm(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """Returns the hidden states `[b t h]` of a one-layer `nn.LSTM` for `[b t d]`; exports take any number of rows."""
    if not torch.compiler.is_exporting():
        hidden: Tensor = lstm(x)[0]
        return hidden
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    of_inputs, of_hidden, *biases = (lstm.get_parameter(name) for name in names)

    def step(state: tuple[Tensor, Tensor], gates: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (gates + state[0] @ of_hidden.T).chunk(4, dim=-1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    start = x.new_zeros(x.shape[0], lstm.hidden_size)
    return run_steps(step, (start, start), x @ of_inputs.T + sum(biases))


class PeepholeLSTM(nn.Module):
    """An LSTM whose gates also see the cell state, the default of PaddlePaddle 1.x.

    Paper: Gers and Schmidhuber, "Recurrent nets that time and count", IJCNN 2000, section 3.

    Input and output: as `nn.LSTM` with `batch_first`: features `[b t d]` to (hidden states `[b t h]`, None). The
    gates have torch's order: input, forget, candidate, output.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.inputs = nn.Linear(input_size, 4 * hidden_size)
        self.hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden_size))  # of the input, forget and output gate
        for weight in (self.inputs.weight, self.hidden.weight):
            nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)
        nn.init.zeros_(self.inputs.bias)

    def forward(self, x: Float[Tensor, "b t d"]) -> tuple[Float[Tensor, "b t _"], None]:
        of_input, of_forget, of_output = self.peepholes.unbind()

        def step(state: tuple[Tensor, Tensor], gates: Tensor) -> tuple[Tensor, Tensor]:
            h, c = state
            i, f, g, o = (gates + self.hidden(h)).chunk(4, dim=-1)
            c = (f + of_forget * c).sigmoid() * c + (i + of_input * c).sigmoid() * g.tanh()
            return (o + of_output * c).sigmoid() * c.tanh(), c

        start = x.new_zeros(x.shape[0], self.peepholes.shape[1])
        return run_steps(step, (start, start), self.inputs(x)), None
