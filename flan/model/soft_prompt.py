"""Soft prompts: learned embeddings before every input, on a model that stays as it is (Lester et al. 2021).

The prompt's tokens have ids of their own, behind the last row of the embedding table: V, V + 1 … The render
contract puts them before the text of every input (of the encoder's, where there is one), so packing, training,
evaluation and serving treat them as they treat any id: they are in each segment, positions count them, no loss
is on them, and ids are the same in all three.

They are ids to read, never to write. The table that is read gets the prompt's rows; the head keeps its V rows
even where the two are tied, so no logit, no softmax and no sample knows of them, and the base's weights are not
touched. That is also why the prompt lies in a file beside the weights: transformers alone ties head and table
row by row, and would give the prompt a share of every softmax. Read by transformers alone, the directory is
the base; read here, it is the base with its prompt.

    # k tokens of the prompt, D hidden size, V rows of the base's table, B packs, L positions
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel

PROMPT_FILE = "soft_prompt.safetensors"
COMMON = 5_000
"""A prompt starts from embeddings of the vocabulary's first entries: the common ones, in every tokenizer that
is sorted by frequency (Lester et al. 2021, 3.2)."""
_TENSOR = "prompt"


class PromptedEmbedding(nn.Module):
    """An embedding table with a prompt behind its last row. It shows the table's own weight."""

    def __init__(self, base_layer: nn.Embedding, prompt_kD: Tensor) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.first_id = base_layer.num_embeddings
        self.prompt = nn.Parameter(prompt_kD)

    @property
    def weight(self) -> Tensor:
        """The table without the prompt: what a tied head multiplies with."""
        return self.base_layer.weight

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L, D)."""
        is_prompt_BL = ids_BL >= self.first_id
        embedded_BLD = self.base_layer(ids_BL.masked_fill(is_prompt_BL, 0))
        prompted_BLD = embedding((ids_BL - self.first_id).clamp(min=0), self.prompt)
        return torch.where(is_prompt_BL[..., None], prompted_BLD.to(embedded_BLD.dtype), embedded_BLD)


def add_prompt(network: PreTrainedModel, length: int, vocabulary: int, seed: int) -> tuple[int, ...]:
    """Freeze `network`, and let it read a prompt, which is all that is trained from here on; its ids.

    It starts as embeddings of `length` of the first `vocabulary` entries, at most COMMON, drawn by `seed`.
    """
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    chosen_k = torch.randint(min(COMMON, vocabulary), (length,), generator=generator)
    table = network.get_input_embeddings()
    # Through the module: some tables scale what they hold.
    return put_prompt(network, table(chosen_k.to(table.weight.device)).detach().clone())


def put_prompt(network: PreTrainedModel, prompt_kD: Tensor) -> tuple[int, ...]:
    """Let `network` read this prompt; its ids."""
    table = PromptedEmbedding(cast(nn.Embedding, network.get_input_embeddings()), prompt_kD)
    network.set_input_embeddings(table)
    return tuple(range(table.first_id, table.first_id + len(prompt_kD)))


def prompt_of(network: PreTrainedModel) -> Tensor | None:
    """The prompt that `network` reads, (k, D)."""
    table = network.get_input_embeddings()
    return table.prompt.detach() if isinstance(table, PromptedEmbedding) else None


@contextmanager
def without_prompt(network: PreTrainedModel) -> Iterator[None]:
    """Within it `network` is as it was before it had a prompt."""
    table = network.get_input_embeddings()
    if not isinstance(table, PromptedEmbedding):
        yield
        return
    network.set_input_embeddings(table.base_layer)
    try:
        yield
    finally:
        network.set_input_embeddings(table)


def write_prompt(prompt_kD: Tensor, directory: Path) -> None:
    """Put the prompt beside a model's weights."""
    save_file({_TENSOR: prompt_kD.cpu().contiguous()}, directory / PROMPT_FILE)


def read_prompt(directory: Path) -> Tensor | None:
    """The prompt beside a model's weights, (k, D)."""
    path = directory / PROMPT_FILE
    return load_file(path)[_TENSOR] if path.is_file() else None
