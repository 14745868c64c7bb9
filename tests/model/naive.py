"""The slow ways of saying the same: one example, one option, one token at a time, no mask of ours."""

import numpy as np
import torch
from torch import Tensor

from flan.model.load import Model


@torch.inference_mode()
def target_logprobs(model: Model, prompt: np.ndarray, target: np.ndarray) -> Tensor:
    """log p of each target token after the prompt, read alone with the network's own masks and positions."""
    prompt_ids, target_ids = torch.from_numpy(prompt).long(), torch.from_numpy(target).long()
    if model.network.config.is_encoder_decoder:
        start = torch.tensor([model.card.contract.prefix_ids[0]])
        logits = model.network(
            input_ids=prompt_ids[None],
            decoder_input_ids=torch.cat([start, target_ids[:-1]])[None],
            use_cache=False,
        ).logits[0]
    else:
        sequence = torch.cat([prompt_ids, target_ids])[None]
        logits = model.network(input_ids=sequence, use_cache=False).logits[0, len(prompt_ids) - 1 : -1]
    return logits.float().log_softmax(-1).gather(-1, target_ids[:, None])[:, 0]


@torch.inference_mode()
def greedy(model: Model, prompt: np.ndarray, max_new_tokens: int) -> tuple[int, ...]:
    """The continuation found by reading everything anew for each token."""
    written: list[int] = []
    end = model.card.contract.end_ids[0]
    while len(written) < max_new_tokens:
        seen = torch.from_numpy(prompt).long()
        if model.network.config.is_encoder_decoder:
            so_far = torch.tensor([[model.card.contract.prefix_ids[0], *written]])
            logits = model.network(input_ids=seen[None], decoder_input_ids=so_far, use_cache=False).logits
        else:
            sequence = torch.cat([seen, torch.tensor(written, dtype=torch.long)])
            logits = model.network(input_ids=sequence[None], use_cache=False).logits
        token = int(logits[0, -1].argmax())
        if token == end:
            break
        written.append(token)
    return tuple(written)
