"""Writing a model: a plain `from_pretrained` directory with its card, proved to read back as it is.

Whoever has the directory needs nothing of ours to use it; whoever has our card beside it can check what
it was taught and how text becomes its ids.
"""

import errno
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from flan.card import CARD_FILE, ModelCard
from flan.errors import Conflict, DiskFull, FlanError
from flan.model.adapters import Adapter, write_adapter
from flan.model.load import Model, load_model
from flan.model.soft_prompt import prompt_of, without_prompt, write_prompt
from flan.store import sync_directory, sync_tree, write_atomically

ADAPTER = "adapter"
PROBE_TEXT = "What is the answer? OPTIONS:\n- yes\n- no"


class BadWeights(FlanError):
    """Weights that no model should have, or that do not read back as they were written."""

    code, blame = "weights_invalid", "system"


def export(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    card: ModelCard,
    directory: Path,
    adapter: Adapter | None = None,
) -> None:
    """Write the model to `directory`, which must not be there yet; it appears whole or not at all.

    A soft prompt lies in a file of its own beside the weights; so does, in the folder `adapter`, what was
    merged into them.

    Before it appears it is loaded again: every weight must be equal to the bit and the logits of a probe
    identical. Raises BadWeights, Conflict, DiskFull.
    """
    if directory.exists():
        raise Conflict(f"{directory} is already there: a written model is never changed")
    check_weights(network)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _write(Model(network, tokenizer, card), temporary)
        if adapter is not None:
            write_adapter(adapter, temporary / ADAPTER)
        _check_reload(network, load_model(temporary, dtype=network.dtype))
        temporary.chmod(0o755)
        sync_tree(temporary)
        temporary.rename(directory)
        sync_directory(directory.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left for {directory}", hint="free some space and try again") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_weights(network: PreTrainedModel) -> None:
    """Raise BadWeights naming the first tensor that is empty or holds a NaN or an infinity.

    Empty is what a weight sharded over ranks (ZeRO-3) looks like where nobody gathered it.
    """
    for name, weight in network.state_dict().items():
        if weight.numel() == 0:
            raise BadWeights(f"{name} is empty: it was not gathered from the ranks", tensor=name)
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise BadWeights(f"{name} holds values that are not finite", tensor=name)


def _write(model: Model, directory: Path) -> None:
    network, tokenizer, card = model
    with without_prompt(network):
        network.save_pretrained(directory)
    if (prompt_kD := prompt_of(network)) is not None:
        write_prompt(prompt_kD, directory)
    tokenizer.save_pretrained(directory)
    # Ids only, over what the network had: how a base model liked to be sampled must not follow the weights.
    GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=card.contract.end_ids[-1],
        decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
    ).save_pretrained(directory)
    write_atomically(directory / CARD_FILE, (card.model_dump_json(indent=1) + "\n").encode())


def _check_reload(network: PreTrainedModel, reloaded: Model) -> None:
    written, read = network.state_dict(), reloaded.network.state_dict()
    if written.keys() != read.keys():
        raise BadWeights(f"tensors differ after reading back: {sorted(written.keys() ^ read.keys())[:3]}")
    for name, weight in written.items():
        if not torch.equal(weight.cpu(), read[name]):
            raise BadWeights(f"{name} reads back other than it was written", tensor=name)
    if (are_tied := _ties_its_head(network)) != _ties_its_head(reloaded.network):
        raise BadWeights(
            f"head and embeddings {'are one tensor' if are_tied else 'are two tensors'} here, and not when read back",
            hint="tie_word_embeddings in its config.json does not say what the network does",
        )
    text = reloaded.tokenizer.encode(PROBE_TEXT, add_special_tokens=False)
    ids = torch.tensor([[*reloaded.card.contract.soft_prompt_ids, *text]])
    was_training, device = network.training, network.device
    network.eval()
    try:
        equal = torch.equal(
            _probe(network, ids.to(device)).cpu(), _probe(reloaded.network.to(device), ids.to(device)).cpu()
        )
    finally:
        network.train(was_training)
    if not equal:
        raise BadWeights(
            "the model that was read back answers the probe otherwise",
            hint="network.to(bfloat16) rounds rotary frequencies too: choose the type when loading",
        )


def _ties_its_head(network: PreTrainedModel) -> bool:
    head, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    return bool(head.weight.data_ptr() == embeddings.weight.data_ptr())


@torch.inference_mode()
def _probe(network: PreTrainedModel, ids_BL: Tensor) -> Tensor:
    if network.config.is_encoder_decoder:
        return network(input_ids=ids_BL, decoder_input_ids=ids_BL, use_cache=False).logits  # type: ignore[no-any-return]
    return network(input_ids=ids_BL, use_cache=False).logits  # type: ignore[no-any-return]
