"""Models from scratch: networks whose weights are a pure function of (preset, tokenizer, seed).

`preset:nano` is a Llama, `preset:nano-t5` a T5: large enough to learn classification from a few hundred
thousand tokens, small enough for two cores. Up to `large` each is about twice the one before
(flan/data/bases.py). Their tokenizer is trained here too, on training rows or a corpus only.
"""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from flan.data.bases import PRESETS
from flan.errors import NotFound

PAD, END = "<pad>", "</s>"
"""Ids 0 and 1: T5 starts its decoder with padding; a decoder starts with the text itself."""
PRESET_CONTEXT = 4_096


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocab_size` entries, fitted to `texts`: equal texts, equal tokenizer.

    Every string can be written and read back unchanged: all 256 bytes are in it. A special token spelled
    out in a text is text, so a row can neither end a target nor hide one.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )


def from_preset(preset: str, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """The untrained network `preset` for `tokenizer`, in fp32 on the CPU. Raises NotFound.

    The same arguments give the same bits; the global random state is left as it was.
    """
    if preset not in PRESETS:
        raise NotFound(f"no preset {preset!r}", hint=f"there are {', '.join(PRESETS)}")
    shape = PRESETS[preset]
    sizes = {"hidden": shape.hidden, "layers": shape.layers, "heads": shape.heads}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: PreTrainedModel
        if shape.architecture == "decoder":
            network = LlamaForCausalLM(llama_config(tokenizer, context=PRESET_CONTEXT, **sizes))
        else:
            network = T5ForConditionalGeneration(t5_config(tokenizer, **sizes))
    return network.eval()


def llama_config(
    tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int, heads: int, context: int
) -> LlamaConfig:
    """A Llama with tied embeddings; its feed-forward is 8/3 of `hidden`, as in Touvron et al. 2023."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        attn_implementation="sdpa",
    )


def t5_config(tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int, heads: int) -> T5Config:
    """A T5 with `layers` in the encoder and as many in the decoder, without dropout.

    Tied embeddings: their logits are scaled to deviation 1 at the start; untied ones begin at about 14.
    """
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=hidden,
        d_kv=hidden // heads,
        d_ff=8 * hidden // 3,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
