"""Rows of unequal length that come and go: each row's logits are those it has alone."""

import numpy as np
import pytest
import torch

from flan.model.flight import ROOM, Reader, Rows
from flan.model.load import Architecture
from tests.model import naive
from tests.serve.lively import lively_model, random_prompt

ARCHITECTURES = ("decoder", "encoder_decoder")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_logits_do_not_depend_on_the_company(architecture: Architecture) -> None:
    """Rows join late, leave early, are doubled and reordered: their log-probabilities are the naive ones."""
    model, rng = lively_model(architecture), np.random.default_rng(0)
    reader = Reader(model)
    prompts = [random_prompt(model, rng, length) for length in (1, 7, 40)]
    texts = [rng.integers(3, 380, size=ROOM + 20).tolist() for _ in range(4)]
    of_prompt = [0, 1, 2, 1]
    expected = [
        naive.target_logprobs(model, prompts[of_prompt[i]], np.array(texts[i], np.int32)) for i in range(4)
    ]
    found: list[list[float]] = [[], [], [], []]

    def note(members: list[int], logits_BV: torch.Tensor) -> list[int]:
        """Read off what each row thinks of its next token; that token."""
        tokens = [texts[member][len(found[member])] for member in members]
        logprobs = logits_BV.log_softmax(-1)[range(len(tokens)), tokens].tolist()
        for member, logprob in zip(members, logprobs, strict=True):
            found[member].append(logprob)
        return tokens

    (first, first_logits), (second, second_logits) = reader.read(prompts[0]), reader.read(prompts[2])
    rows, members = Rows.merged([first, second]), [0, 2]
    logits = torch.cat([first_logits, second_logits])
    for _ in range(5):
        logits = reader.write(rows, note(members, logits))
    late, late_logits = reader.read(prompts[1])
    rows, members = Rows.merged([rows, late.kept([0, 0])]), [0, 2, 1, 3]
    logits = torch.cat([logits, late_logits.expand(2, -1)])
    for _ in range(5):
        logits = reader.write(rows, note(members, logits))
    rows, members, logits = rows.kept([3, 0, 2]), [3, 0, 1], logits[[3, 0, 2]]
    for _ in range(ROOM):
        logits = reader.write(rows, note(members, logits))

    assert [len(row) for row in found] == [ROOM + 10, ROOM + 5, 10, ROOM + 5]
    for own, naive_ones in zip(found, expected, strict=True):
        assert torch.allclose(torch.tensor(own), naive_ones[: len(own)], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_step_copies_no_past() -> None:
    """Between two growths a step writes into the same buffers."""
    model = lively_model()
    reader = Reader(model)
    rows, _ = reader.read(random_prompt(model, np.random.default_rng(1), 20))
    places = [layer.keys.data_ptr() for layer in rows.cache.layers]
    for _ in range(ROOM):
        reader.write(rows, [5])

    assert [layer.keys.data_ptr() for layer in rows.cache.layers] == places
