"""A model directory → network, tokenizer and card.

Weights come from safetensors only and no code of a model directory is ever run: a pickle or a
`trust_remote_code` model is a program of a stranger.
"""

import inspect
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from flan.card import CARD_FILE, Contract, Lineage, ModelCard, read_card
from flan.data.bases import UnsafeWeights
from flan.data.tokens import make_contract
from flan.errors import FlanError, NotFound
from flan.model.soft_prompt import put_prompt, read_prompt

# Bars of every weight file would bury what a rank has to say in its log.
disable_progress_bar()

Architecture = Literal["decoder", "encoder_decoder"]
RELATIVE_ENCODER_DECODERS = ("t5", "mt5")
"""Encoder-decoders whose only positions are relative: packs of them can be isolated by masks alone."""
UNBOUNDED_CONTEXT = 2**20
"""Context of a model without absolute positions: the longest sequence that a spec can ask for."""


class UnsupportedModel(FlanError):
    """A network that cannot be packed and scored exactly, or whose parts do not fit together."""

    code, blame = "model_unsupported", "user"


class RenderContractMismatch(FlanError):
    """The tokenizer on disk no longer gives the token ids the model was trained on."""

    code, blame = "render_contract_mismatch", "user"


class Model(NamedTuple):
    """What answers: weights, the way text becomes ids, and what is known of both."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    card: ModelCard


def load_model(
    directory: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Model:
    """The model in `directory`, ready to answer (evaluation mode). Works offline.

    A directory of ours brings its card; any other `from_pretrained` directory gets one with an unknown
    lineage. Raises NotFound, UnsafeWeights, UnsupportedModel, RenderContractMismatch.
    """
    if not (directory / "config.json").is_file():
        raise NotFound(f"no model in {directory}: it has no config.json")
    _check_weights(directory)
    config = _pretrained(AutoConfig, directory)
    tokenizer = load_tokenizer(directory)
    contract = contract_of(config, tokenizer)
    network = _load_network(directory, config, dtype)
    check_usable(network, tokenizer)
    if (prompt_kD := read_prompt(directory)) is not None:
        ids = put_prompt(network, prompt_kD.to(dtype))
        contract = contract.model_copy(update={"soft_prompt_ids": ids})
    network = network.to(device).eval()
    if (directory / CARD_FILE).is_file():
        card = read_card(directory)
        _check_contract(directory, card.contract, contract)
    else:
        unknown = Lineage(base=directory.name or "unknown", tasks_seen=None, clusters_seen=None)
        card = make_card(_name_of(directory), network, contract, unknown)
    return Model(network, tokenizer, card)


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `directory`, of a model or on its own. Raises NotFound, UnsupportedModel."""
    if not directory.is_dir():
        raise NotFound(f"no folder {directory}")
    tokenizer = _pretrained(AutoTokenizer, directory)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UnsupportedModel(f"{directory}: its tokenizer has no fast form")
    return tokenizer


def make_card(name: str, network: PreTrainedModel, contract: Contract, lineage: Lineage) -> ModelCard:
    """The card of `network` under this contract and lineage."""
    return ModelCard(
        name=name,
        contract=contract,
        context_length=context_length(network.config),
        num_parameters=network.num_parameters(),
        lineage=lineage,
    )


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """Which of our two packings fits the network."""
    return "encoder_decoder" if config.is_encoder_decoder else "decoder"


def contract_of(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> Contract:
    """The render contract of a network of this configuration with this tokenizer."""
    start = config.decoder_start_token_id if config.is_encoder_decoder else None
    return make_contract(tokenizer, architecture_of(config), decoder_start_id=start)


def context_length(config: PreTrainedConfig) -> int:
    """Longest sequence the network can place, in tokens.

    A sliding window shorter than that counts instead: up to its length, explicit masks and the window agree.
    """
    if config.model_type in RELATIVE_ENCODER_DECODERS:
        return UNBOUNDED_CONTEXT
    positions = int(getattr(config, "max_position_embeddings", None) or UNBOUNDED_CONTEXT)
    window = getattr(config, "sliding_window", None)
    return min(positions, int(window)) if window else positions


def check_usable(network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise UnsupportedModel unless packs of `network` can be isolated and every id has an embedding."""
    config = network.config
    if config.is_encoder_decoder and config.model_type not in RELATIVE_ENCODER_DECODERS:
        raise UnsupportedModel(
            f"encoder-decoder {config.model_type!r} has absolute positions, which cannot restart in a pack",
            hint=f"use one of {', '.join(RELATIVE_ENCODER_DECODERS)}, or a decoder-only model",
        )
    if not config.is_encoder_decoder and "position_ids" not in inspect.signature(network.forward).parameters:
        raise UnsupportedModel(
            f"{config.model_type!r} takes no position_ids: its positions cannot restart in a pack"
        )
    num_embeddings = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_embeddings:
        raise UnsupportedModel(
            f"the tokenizer has {len(tokenizer)} ids, the network {num_embeddings} embeddings",
            hint="the tokenizer belongs to another model",
        )


def _load_network(directory: Path, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    auto_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    network, report = _pretrained(
        auto_class,
        directory,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    # transformers fills what a file lacks with random numbers and goes on.
    missing = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if missing:
        raise UnsupportedModel(
            f"{directory}: {len(missing)} tensors are missing or misshapen, {missing[0]} first"
        )
    return network


def _pretrained(auto_class: Any, directory: Path, **options: Any) -> Any:
    # The one call site: every file of a stranger's model passes here.
    try:
        return auto_class.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True, **options
        )
    except (ValueError, OSError) as error:
        raise UnsupportedModel(
            f"{directory} does not load: {error}", hint="code that comes with a model is never run here"
        ) from error


def _check_weights(directory: Path) -> None:
    if any(directory.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern))
    if pickles:
        raise UnsafeWeights(
            f"{directory} has weights as pickles only ({pickles[0]}), which can run code when read",
            hint="convert them: load the model where you trust it and save_pretrained() it as safetensors",
        )
    raise UnsafeWeights(f"{directory} has no *.safetensors file")


def _check_contract(directory: Path, trained: Contract, found: Contract) -> None:
    if trained == found:
        return
    differing = sorted(
        name for name in Contract.model_fields if getattr(trained, name) != getattr(found, name)
    )
    raise RenderContractMismatch(
        f"{directory}: the model was made under render contract {trained.digest()[:12]}, its tokenizer and "
        f"this version give {found.digest()[:12]} (differs in {', '.join(differing)})",
        hint="restore the files the model was exported with, or tune it anew",
        trained=trained.digest(),
        found=found.digest(),
    )


def _name_of(directory: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", directory.resolve().name.lower()).lstrip("._-")[:64]
    return name or "model"
