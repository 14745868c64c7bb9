"""LoRA: matrices that stay as they are, each with a trained addition of low rank (Hu et al. 2021).

    W x + (alpha / rank) · B A dropout(x)       A (rank, in) drawn from a seed, B (out, rank) zero at first

Only A and B are trained. A tuned model is written merged, W + (alpha / rank) B A, as any other model; beside it
lies the adapter alone, which names by digest the weights and the tokenizer that it was trained on and is put on
no others. It cannot change a vocabulary: embeddings and head get no addition.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from flan.errors import FlanError, NotFound, did_you_mean
from flan.spec import Document, Lora, Sha256, parse

DOCUMENT, WEIGHTS, PEFT_CONFIG = "adapter.json", "adapter_model.safetensors", "adapter_config.json"
_PEFT_PREFIX = "base_model.model."
"""Before every name in the files of Hugging Face's PEFT, whose layout the folder of an adapter has."""


class UnknownModule(FlanError):
    """A network has no matrix of that name to put an addition on."""

    code, blame = "unknown_module", "user"


class WrongBase(FlanError):
    """An adapter was trained on other weights, or with another tokenizer."""

    code, blame = "adapter_wrong_base", "user"


class AdapterDocument(Document):
    """`adapter.json`: what an adapter fits."""

    format: Literal[1] = 1
    """Of this document."""
    base: Sha256
    """Digest of the weights it was trained on."""
    base_name: str
    """What their model was called."""
    tokenizer: Sha256
    """Digest of the tokenizer, as in the render contract."""
    lora: Lora
    """How it was asked for."""
    modules: tuple[str, ...]
    """The matrices that have an addition, by their whole names."""


class Adapter(NamedTuple):
    """An adapter on its own, without the weights it belongs to."""

    document: AdapterDocument
    weights: dict[str, Tensor]
    """`<module>.lora_A` and `<module>.lora_B`."""


class LowRank(nn.Module):
    """A matrix with its addition. It shows the matrix's own weight and bias to whoever asks for them."""

    def __init__(self, base_layer: nn.Linear | Conv1D, lora: Lora, generator: torch.Generator) -> None:
        super().__init__()
        self.base_layer = base_layer
        num_in, num_out = _sizes(base_layer)
        # As in PEFT: uniform with the deviation of a linear layer's first weights.
        first = torch.empty(lora.rank, num_in).uniform_(-1, 1, generator=generator) / math.sqrt(num_in)
        weight = cast(Tensor, base_layer.weight)
        self.lora_A = nn.Parameter(first.to(weight))
        self.lora_B = nn.Parameter(torch.zeros(num_out, lora.rank).to(weight))
        self.dropout = nn.Dropout(lora.dropout)
        self.scale = lora.alpha / lora.rank

    @property
    def weight(self) -> Tensor:
        """The matrix without the addition."""
        return cast(Tensor, self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """Of the matrix."""
        return cast("Tensor | None", self.base_layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """What the matrix makes of `hidden`, and the addition."""
        added = linear(linear(self.dropout(hidden), self.lora_A), self.lora_B)
        return self.base_layer(hidden) + self.scale * added  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear | Conv1D:
        """The matrix with the addition in it."""
        added = self.scale * (self.lora_B @ self.lora_A)
        self.weight.add_(added.T if isinstance(self.base_layer, Conv1D) else added)
        return self.base_layer


def add_lora(network: PreTrainedModel, lora: Lora, seed: int) -> None:
    """Freeze `network`, and give its matrices additions, which are all that is trained from here on.

    At first they add nothing. A pure function of network, `lora` and `seed`. Raises UnknownModule.
    """
    modules = _targets(network, lora.target_modules)
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in modules:
        layer = network.get_submodule(name)
        assert isinstance(layer, (nn.Linear, Conv1D))
        network.set_submodule(name, LowRank(layer, lora, generator))


def merge(network: PreTrainedModel) -> None:
    """Put every addition into its matrix: the network is then as plain as before `add_lora`."""
    for name, layer in _low_rank(network).items():
        network.set_submodule(name, layer.merged())


def take_adapter(
    network: PreTrainedModel, lora: Lora, *, base: str, base_name: str, tokenizer: str
) -> Adapter:
    """The additions of `network` on their own. `base` is what weights_digest() said before they were there."""
    layers = _low_rank(network)
    document = AdapterDocument(
        base=base, base_name=base_name, tokenizer=tokenizer, lora=lora, modules=tuple(layers)
    )
    weights: dict[str, Tensor] = {}
    for name, layer in layers.items():
        weights |= {f"{name}.lora_A": layer.lora_A.detach(), f"{name}.lora_B": layer.lora_B.detach()}
    return Adapter(document, weights)


def write_adapter(adapter: Adapter, directory: Path) -> None:
    """The folder of an adapter, in the layout of PEFT with `adapter.json` beside."""
    document, weights = adapter
    directory.mkdir()
    save_file(
        {f"{_PEFT_PREFIX}{name}.weight": weight.contiguous() for name, weight in weights.items()},
        directory / WEIGHTS,
    )
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": document.base_name,
        "r": document.lora.rank,
        "lora_alpha": document.lora.alpha,
        "lora_dropout": document.lora.dropout,
        "target_modules": list(document.modules),
        "bias": "none",
        "inference_mode": True,
    }
    (directory / PEFT_CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    (directory / DOCUMENT).write_text(document.model_dump_json(indent=1) + "\n")


def put_adapter(network: PreTrainedModel, tokenizer: str, directory: Path) -> None:
    """Give `network` the additions of the adapter in `directory`. `tokenizer` is the digest of its own.

    Raises NotFound, WrongBase.
    """
    if not (directory / DOCUMENT).is_file():
        raise NotFound(f"no adapter in {directory}: it has no {DOCUMENT}")
    document = parse(AdapterDocument, json.loads((directory / DOCUMENT).read_text()))
    found = weights_digest(network)
    for what, trained, here in (
        ("weights", document.base, found),
        ("tokenizer", document.tokenizer, tokenizer),
    ):
        if trained != here:
            raise WrongBase(
                f"{directory}: the adapter was trained on {what} {trained[:12]} ({document.base_name}), "
                f"not {here[:12]}",
                hint=f"put it on {document.base_name}, or use the merged model it came with",
            )
    lora = document.lora.model_copy(update={"target_modules": document.modules})
    add_lora(network, lora, seed=0)
    _fill(network, load_file(directory / WEIGHTS))


def weights_digest(network: PreTrainedModel) -> str:
    """sha256 of every tensor with its name, type and shape: equal digests, equal weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.no_grad()
def _fill(network: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    for name, layer in _low_rank(network).items():
        layer.lora_A.copy_(weights[f"{_PEFT_PREFIX}{name}.lora_A.weight"])
        layer.lora_B.copy_(weights[f"{_PEFT_PREFIX}{name}.lora_B.weight"])


def _low_rank(network: nn.Module) -> dict[str, LowRank]:
    return {name: module for name, module in network.named_modules() if isinstance(module, LowRank)}


def _targets(network: PreTrainedModel, wanted: tuple[str, ...] | None) -> list[str]:
    """Names of the matrices that are meant, in the network's order."""
    head = network.get_output_embeddings()
    matrices = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    ]
    if wanted is None:
        return matrices
    for i, end in enumerate(wanted):
        if not any(_ends(name, end) for name in matrices):
            known = sorted({name.rpartition(".")[2] for name in matrices})
            raise UnknownModule(
                f"{type(network).__name__} has no matrix {end!r}; it has {', '.join(known)}",
                hint=did_you_mean(end, known) or "name some of these, or leave target_modules out",
                pointer=f"/method/target_modules/{i}",
            )
    return [name for name in matrices if any(_ends(name, end) for end in wanted)]


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _sizes(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    rows, columns = cast(Tensor, layer.weight).shape
    return (rows, columns) if isinstance(layer, Conv1D) else (columns, rows)
