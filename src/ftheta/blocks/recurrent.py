"""Recurrent mixers: LSTM (Hochreiter & Schmidhuber 1997) and GRU (Cho et al. 2014, arXiv:1406.1078), by torch's fused kernels.

State starts at zero in every document and is carried exactly when generating. With `bidirectional` a second network reads each document
from its end, and what both say is joined (Schuster & Paliwal 1997). In a program that is exported the formula itself stands, repeated
over as many tokens as there will be: torch's kernels are traced for one length only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from ftheta.blocks.context import Context
from ftheta.blocks.documents import document_starts
from ftheta.blocks.initialise import uniform
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer


class Recurrent(Mixer):
    """A one-layer recurrent network and an output map; subclasses choose the cell."""

    cell: type[nn.RNNBase]
    states: int
    """How many tensors (B, H) a token hands to the next, the one that is its output first."""

    def __init__(
        self, dim: int, *,
        hidden: Annotated[int | None, Field(gt=0, description="Width of the state; none: that of the model.")] = None,
        bidirectional: Annotated[bool, Field(description="Whether a second network reads every document from its end; a token then sees what follows.")] = False,
    ):
        super().__init__()
        self.hidden = hidden or dim
        self.rnn = self.cell(dim, self.hidden, batch_first=True, bidirectional=bidirectional)      # type: ignore[call-arg]
        self.output = Linear(self.hidden * (1 + bidirectional), dim, bias=False)

    @staticmethod
    @abstractmethod
    def step(inputs: Tensor, before: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """A token's states: what maps of the input and of the state before give, gates side by side (B, gates · H), and the states before."""

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return set() if arguments["bidirectional"] else {"causal"}

    def initialise(self, seed: int, place: str) -> None:
        """U(±1/sqrt(hidden)), with all gates of a cell counted in hidden, for the network."""
        for name, parameter in self.rnn.named_parameters():
            uniform(parameter, parameter.shape[0] ** -0.5 * 2, seed, f"{place}.rnn.{name}")

    def forward(self, x: Tensor, context: Context) -> Tensor:
        inputs = x.to(next(self.rnn.parameters()).dtype)
        if context.cache is None:
            hidden = self.by_document(inputs, context.documents)
        else:
            hidden = self.carried(inputs, context)
        return self.output(hidden.to(x.dtype))

    def by_document(self, x: Tensor, documents: Tensor | None) -> Tensor:
        """Every run of equal document numbers is a sequence of its own, starting from zero state."""
        if torch.compiler.is_exporting():
            return self.repeated(x, torch.zeros_like(x[..., 0], dtype=torch.int64) if documents is None else documents)
        if documents is None or bool((documents == documents[:, :1]).all()):
            return self.rnn(x)[0]
        starts = document_starts(documents).reshape(-1).nonzero()[:, 0]                                   # where runs start in the flat batch
        ends = torch.cat([starts[1:], starts.new_tensor([documents.numel()])])
        runs = x.reshape(-1, x.shape[-1]).split((ends - starts).tolist())
        if self.rnn.bidirectional:                                                       # from the end of a document, not of the padding after it
            packed = self.rnn(nn.utils.rnn.pack_sequence(list(runs), enforce_sorted=False))[0]
            result = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)[0]
        else:
            result = self.rnn(nn.utils.rnn.pad_sequence(list(runs), batch_first=True))[0]      # the past of a token is never padding
        return torch.cat([row[: len(run)] for row, run in zip(result, runs, strict=True)]).view(*x.shape[:2], -1)

    def repeated(self, x: Tensor, documents: Tensor) -> Tensor:
        """The same, one step of the formula after the other."""
        result = self.direction(x, documents, "")
        if not self.rnn.bidirectional:
            return result
        return torch.cat([result, self.direction(x.flip(1), documents.flip(1), "_reverse").flip(1)], dim=-1)

    def direction(self, x: Tensor, documents: Tensor, which: str) -> Tensor:
        """(B, T, H) of one of the networks, from the left."""
        of_input, of_state, bias, more = (getattr(self.rnn, f"{name}_l0{which}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        inputs = nn.functional.linear(x, of_input, bias).transpose(0, 1)

        def step(states: tuple[Tensor, ...], token: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
            gates, starts = token
            states = tuple(torch.where(starts[:, None], torch.zeros_like(state), state) for state in states)
            states = self.step(gates, nn.functional.linear(states[0], of_state, more), *states)
            return states, states[0].clone()

        start = tuple(x.new_zeros(x.shape[0], self.hidden) for _ in range(self.states))
        return scan(step, start, (inputs, document_starts(documents).transpose(0, 1)))[1].transpose(0, 1)

    def carried(self, x: Tensor, context: Context) -> Tensor:
        """One more stretch after what the cache remembers, a token at a time where padding (document -1) must not count."""
        assert context.cache is not None
        state = context.cache.states.get(self)
        state = None if state is None else tuple(part.transpose(0, 1).contiguous() for part in state)
        if context.documents is None or bool((context.documents >= 0).all()):
            result, state = self.rnn(x, self.unpack(state))
            state = self.pack(state)
        else:
            rows = []
            for t in range(x.shape[1]):
                out, new = self.rnn(x[:, t : t + 1], self.unpack(state))
                real = (context.documents[:, t] >= 0)[None, :, None]
                state = tuple(torch.where(real, b, torch.zeros_like(b) if state is None else state[i]) for i, b in enumerate(self.pack(new)))
                rows.append(out)
            result = torch.cat(rows, dim=1)
        assert state is not None
        context.cache.states[self] = tuple(part.transpose(0, 1) for part in state)       # batch first, as every cache
        return result

    def unpack(self, state: tuple[Tensor, ...] | None) -> Any:
        if state is None or len(state) == 2:
            return state
        (only,) = state
        return only

    def pack(self, state: Any) -> tuple[Tensor, ...]:
        return state if isinstance(state, tuple) else (state,)


class LSTM(Recurrent):
    """i, f, o = σ(...), c' = f c + i tanh(...), h' = o tanh(c')."""

    cell = nn.LSTM
    states = 2

    @staticmethod
    def step(inputs: Tensor, before: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        i, f, new, o = (inputs + before).chunk(4, dim=-1)
        c = f.sigmoid() * states[1] + i.sigmoid() * new.tanh()
        return o.sigmoid() * c.tanh(), c


class GRU(Recurrent):
    """r, z = σ(...), n = tanh(W x + r U h), h' = (1 - z) n + z h."""

    cell = nn.GRU
    states = 1

    @staticmethod
    def step(inputs: Tensor, before: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        (r, z, new), (of_r, of_z, of_new) = inputs.chunk(3, dim=-1), before.chunk(3, dim=-1)
        r, z = (r + of_r).sigmoid(), (z + of_z).sigmoid()
        return ((1 - z) * (new + r * of_new).tanh() + z * states[0],)
