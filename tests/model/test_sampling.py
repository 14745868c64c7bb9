"""Drawing tokens: each row by its own rules, whatever the other rows are."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from transformers import RepetitionPenaltyLogitsProcessor

from flan.model.sampling import draw_tokens, noise, penalized, token_logprobs
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
    together, _ = draw_tokens(logits, [s for s, _, _ in drawn], [u for _, _, u in drawn])

    alone = [draw_tokens(_logits(seed)[None], [s], [u])[0].item() for s, seed, u in drawn]
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

    assert draw_tokens(_logits(seed)[None], [s], [u])[0].item() in expected


CELLS = [
    Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    for temperature in (0.5, 0.9, 1.7)
    for top_k in (0, 5, 40)
    for top_p in (1.0, 0.9, 0.6)
]


def _exact(logits: torch.Tensor, s: Sampling) -> torch.Tensor:
    """The distribution that the rules say, by definition: temperature, then top-k, then top-p."""
    shares = (logits.double() / s.temperature).softmax(-1)
    order = shares.argsort(descending=True)
    kept = order[: s.top_k or len(order)]
    own = shares[kept] / shares[kept].sum()
    num_kept = int((own.cumsum(-1) - own < s.top_p).sum())
    found = torch.zeros_like(shares)
    found[kept[:num_kept]] = own[:num_kept] / own[:num_kept].sum()
    return found


def test_draws_follow_the_distribution() -> None:
    """Pearson's chi-squared against the exact distribution, for temperatures, top-k and top-p together.

    27 cells of 4,000 draws; the bound is what one of 27 such sums exceeds once in a hundred thousand.
    """
    num_draws, logits = 4_000, _logits(3) * 0.6
    rows = logits.expand(num_draws, -1)
    for number, s in enumerate(CELLS):
        expected = _exact(logits, s) * num_draws
        tokens, _ = draw_tokens(rows, [s] * num_draws, [noise(number, 1, i) for i in range(num_draws)])
        seen = torch.bincount(tokens, minlength=VOCABULARY).double()
        assert seen[expected == 0].sum() == 0
        # Rare tokens are counted as one: the sum follows its distribution where five are expected.
        is_rare = expected < 5
        pooled = [*zip(seen[~is_rare].tolist(), expected[~is_rare].tolist(), strict=True)]
        if expected[is_rare].sum() > 0:
            pooled.append((float(seen[is_rare].sum()), float(expected[is_rare].sum())))
        statistic = sum((found - wanted) ** 2 / wanted for found, wanted in pooled)
        assert statistic < chi2.ppf(1 - 1e-5 / 27, max(1, len(pooled) - 1)), s


def test_noise_is_even() -> None:
    """Numbers of noise fall into the unit interval evenly, along answers and along positions."""
    for numbers in ([noise(1, 0, i) for i in range(10_000)], [noise(1, i, 0) for i in range(10_000)]):
        seen = torch.histc(torch.tensor(numbers), 50, 0, 1)

        assert float(((seen - 200) ** 2 / 200).sum()) < chi2.ppf(1 - 1e-6, 49)


def test_a_repetition_penalty_is_the_librarys() -> None:
    """What transformers makes of the same logits and tokens; rows without a penalty stay as they are."""
    logits = torch.stack([_logits(1), _logits(2), _logits(3)])
    seen = [[3, 4, 3, 49], [0, 1, 2], []]
    rules = [Sampling(repetition_penalty=penalty) for penalty in (1.3, 1.0, 2.0)]

    found = penalized(logits, rules, seen)
    library = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([seen[0]]), logits[:1].clone())
    assert torch.equal(found[:1], library)
    assert torch.equal(found[1:], logits[1:])


def test_logits_that_are_no_numbers_are_told_apart() -> None:
    """Whatever the rules, a row with NaN or infinity says so; others do not."""
    logits = torch.stack([_logits(1), _logits(2), _logits(3)])
    logits[0, 7], logits[1, 9] = torch.nan, torch.inf
    for s in (Sampling(temperature=0), Sampling(), Sampling(top_k=0)):
        assert draw_tokens(logits, [s] * 3, [0.5] * 3)[1].tolist() == [False, False, True]


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
