"""Drawing tokens: each row by its own rules, whatever the other rows are."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from flan.model.sampling import draw_tokens, noise, token_logprobs
from flan.spec import Sampling

VOCABULARY = 50
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-300, 0.3, 0.9, 2.0, 100.0]),
    top_k=st.sampled_from([0, 1, 5, 40, 49, 50, 1_000]),
    top_p=st.sampled_from([1e-9, 0.2, 0.9, 1.0]),
)
rows = st.tuples(samplings, st.integers(0, 2**32), st.floats(0, 1, exclude_max=True))


def _logits(seed: int) -> torch.Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


@given(st.lists(rows, min_size=1, max_size=6))
def test_a_row_draws_the_same_alone_and_among_others(drawn: list[tuple[Sampling, int, float]]) -> None:
    """Nothing of the other rows enters: neither their rules, their logits nor their noise."""
    logits = torch.stack([_logits(seed) for _, seed, _ in drawn])
    together = draw_tokens(logits, [s for s, _, _ in drawn], [u for _, _, u in drawn])

    alone = [draw_tokens(_logits(seed)[None], [s], [u]).item() for s, seed, u in drawn]
    assert together.tolist() == alone


@given(samplings, st.integers(0, 2**32), st.floats(0, 1, exclude_max=True))
def test_a_draw_is_the_inverse_of_the_distribution_function(s: Sampling, seed: int, u: float) -> None:
    """What is drawn is what a plain loop over the sorted probabilities finds."""
    logits = _logits(seed).double().tolist()
    order = sorted(range(VOCABULARY), key=lambda token: -logits[token])
    if s.temperature == 0:
        expected = {order[0]}
    else:
        kept = order[: s.top_k or VOCABULARY]
        weights = [math.exp((logits[token] - logits[order[0]]) / s.temperature) for token in kept]
        shares = [weight / sum(weights) for weight in weights]
        num_kept = next((n for n in range(1, len(kept)) if sum(shares[:n]) >= s.top_p), len(kept))
        total, passed = sum(shares[:num_kept]), 0.0
        expected = set()
        for token, share in zip(kept[:num_kept], shares[:num_kept], strict=True):
            # A noise on the very border may fall to either side of it.
            if passed - 1e-12 <= u * total <= passed + share + 1e-12:
                expected.add(token)
            passed += share

    assert draw_tokens(_logits(seed)[None], [s], [u]).item() in expected


def test_draws_follow_the_probabilities() -> None:
    """Over many numbers of noise each token comes as often as the softmax says."""
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    draws = [
        draw_tokens(logits, [Sampling(temperature=1, top_k=0)], [noise(3, 0, i)]).item() for i in range(4_000)
    ]

    expected = logits[0].softmax(-1)
    for token in range(4):
        error = 4 * math.sqrt(float(expected[token]) / 4_000)
        assert abs(draws.count(token) / 4_000 - float(expected[token])) < error


@given(st.integers(0, 2**63 - 1), st.integers(0, 15), st.integers(0, 8_191))
def test_noise_is_a_pure_function_in_the_unit_interval(seed: int, sample: int, position: int) -> None:
    """The same place has the same noise; neighbours have another."""
    here = noise(seed, sample, position)

    assert 0 <= here < 1
    assert here == noise(seed, sample, position)
    assert here != noise(seed, sample, position + 1)
    assert here != noise(seed, sample + 1, position)


def test_noise_never_changes() -> None:
    """An answer drawn today is drawn again tomorrow, on another machine and by a later version."""
    assert [noise(7, 0, position) for position in range(3)] == [
        0.06626867728212082,
        0.4739482366851312,
        0.2544820756562548,
    ]


def test_log_probabilities_are_those_of_the_model() -> None:
    """Temperature and cuts change what is drawn, not what is reported."""
    logits = torch.stack([_logits(1), _logits(2)])

    found = token_logprobs(logits, torch.tensor([3, 4]))
    assert torch.allclose(found, torch.stack([_logits(1).log_softmax(-1)[3], _logits(2).log_softmax(-1)[4]]))
