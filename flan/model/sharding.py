"""A network that no device holds: each rank keeps a part of every weight (ZeRO-3), and has the others' for a layer.

    D width of a network

What a layer needs is gathered from all ranks when it is called and given back when it has answered, so a forward pass
is a collective: whoever runs one waits for the others. Ranks whose batches are uneven, or whose texts end at other
places, therefore take turns. Before each pass they agree on what is run next; one that has no use for it computes a
dead row, a single token whose answer nobody reads.

A layer is gathered whole, whatever parts of it are called, so what ranks exchange does not depend on what they read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from flan.model.last_layer import ends_early

NOTHING = -1
"""What a rank asks for that has come to its end."""


def shard(network: PreTrainedModel, device: torch.device) -> "Turns":
    """Leave a part of each weight of `network` on `device`, and the others to the other ranks.

    Every rank calls it, in the process group, with the same network on the CPU; it keeps rank 0's weights. From then
    on the network answers only while its turns are taken, and only to calls of it and of its encoder.
    """
    # Imported here: the accelerator is chosen at import, from the environment that the ranks have set.
    import deepspeed

    # While it is whole: a probe that broke off half-way would leave the other ranks in the middle of a pass.
    ends_early(network)
    deepspeed.zero.Init(module=network, dtype=network.dtype)
    network.to(device)  # what are no weights: tables of positions
    for unit in _units(network):
        _gather_for(unit)
    return Turns(network)


def _units(network: nn.Module) -> list[nn.Module]:
    """What is gathered at a time: layers, and around them whatever has weights of its own."""
    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    inside = {part for layer in layers for part in layer.modules()}
    around = [
        module
        for module in network.modules()
        if module not in inside and next(module.parameters(recurse=False), None) is not None
    ]
    return layers + around


def _gather_for(unit: nn.Module) -> None:
    """Gather the weights of `unit` when it is called, and give them back when it has answered."""
    import deepspeed

    weights = deepspeed.zero.GatheredParameters(list(unit.parameters()))

    def gather(*_: Any) -> None:
        # A tensor made in inference mode cannot stand for a weight.
        with torch.inference_mode(False), torch.no_grad():
            weights.__enter__()

    def give_back(*_: Any) -> None:
        with torch.inference_mode(False), torch.no_grad():
            weights.__exit__(None, None, None)

    unit.register_forward_pre_hook(gather)
    unit.register_forward_hook(give_back)


class Turns:
    """Which part of a sharded network all ranks run next.

    An encoder-decoder has two parts, called apart: one rank may read a prompt while another goes on writing.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        self._network = network
        self._is_taken = self._is_dead = False
        parts: Sequence[nn.Module] = [network]
        self._dead_rows: Sequence[Callable[[], Any]] = [self._read]
        if network.config.is_encoder_decoder:
            parts = [network.get_encoder(), network]
            self._dead_rows = [self._encode, self._decode]
        for number, part in enumerate(parts):
            part.register_forward_pre_hook(lambda *_, number=number: self._wait_for(number), prepend=True)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Within it the network may be called, at each rank as often as it likes; it ends when all ranks are there.

        All ranks enter it alike. An error at one of them lets the others finish; what no code is prepared for may
        have struck in the middle of a pass, and breaks their collectives when the rank ends.
        """
        self._is_taken = True
        try:
            yield
        except Exception:
            self._wait_for(NOTHING)
            raise
        else:
            self._wait_for(NOTHING)
        finally:
            self._is_taken = False

    def _wait_for(self, wanted: int) -> None:
        """Return when it is the turn of part `wanted`; until then run what others ask for."""
        if self._is_dead:
            return
        assert self._is_taken, "a sharded network is called in turns"
        while (turn := self._agreed(wanted)) != wanted:
            self._is_dead = True
            try:
                self._dead_rows[turn]()
            finally:
                self._is_dead = False

    def _agreed(self, wanted: int) -> int:
        """The part that all ranks run next: the last of those that are wanted. NOTHING when all have ended."""
        turn = torch.tensor(wanted, device=self._network.device)
        dist.all_reduce(turn, op=dist.ReduceOp.MAX)
        return int(turn)

    @torch.inference_mode()
    def _read(self) -> None:
        self._network(input_ids=self._token(), use_cache=False)

    @torch.inference_mode()
    def _encode(self) -> None:
        self._network.get_encoder()(input_ids=self._token())

    @torch.inference_mode()
    def _decode(self) -> None:
        hidden_11D = torch.zeros(
            1, 1, self._network.config.hidden_size, dtype=self._network.dtype, device=self._network.device
        )
        self._network(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden_11D),
            decoder_input_ids=self._token(),
            use_cache=False,
        )

    def _token(self) -> torch.Tensor:
        return torch.zeros(1, 1, dtype=torch.long, device=self._network.device)
