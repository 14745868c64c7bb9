"""Continuous batching: every answer is the one its request would get alone."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from flan.data.tokens import Ids, encode_target
from flan.model.load import Architecture
from flan.model.passes import CacheTooSmall
from flan.model.scoring import NotFinite
from flan.serve.batch import READ_BESIDE
from flan.serve.outcomes import EngineStopped, Overloaded
from flan.serve.sequences import Completion, Piece
from tests.model import naive
from tests.serve.lively import (
    PROMPTS,
    endless_model,
    engine_of,
    gate,
    lively_model,
    prompt_ids,
    random_prompt,
    sampling,
    wait_until,
    with_end,
    without_end,
)

ARCHITECTURES = ("decoder", "encoder_decoder")


def _tokens(future: Future[list[Completion]]) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in future.result(timeout=60)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_answers_are_those_of_the_library(architecture: Architecture) -> None:
    """Temperature 0, all at once: token for token what transformers' own generate() writes."""
    model = lively_model(architecture)
    prompts = [prompt_ids(model, text) for text in PROMPTS]
    with engine_of(model) as engine:
        futures = [engine.generate(prompt, sampling(temperature=0, max_new_tokens=40)) for prompt in prompts]
        written = [_tokens(future)[0] for future in futures]

    for prompt, found in zip(prompts, written, strict=True):
        ids = torch.from_numpy(prompt).long()[None]
        whole = model.network.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40, pad_token_id=0
        )[0].tolist()
        expected = whole[1:] if architecture == "encoder_decoder" else whole[len(prompt) :]
        assert list(found) == expected
        assert len(set(found)) > 5, "the model repeats itself: nothing is tested"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_seed_gives_the_same_answer_alone_and_in_company(architecture: Architecture) -> None:
    """Sampled answers too: 12 requests of all kinds share 5 rows, and each is what it is alone."""
    model, rng = lively_model(architecture), np.random.default_rng(0)
    asked = [
        (
            random_prompt(model, rng, int(rng.integers(1, 60))),
            sampling(
                seed=i,
                temperature=[0, 0.7, 1.5][i % 3],
                top_k=[0, 5, 40][i % 3],
                top_p=[1.0, 0.8][i % 2],
                max_new_tokens=int(rng.integers(1, 30)),
            ),
            1 + i % 3,
        )
        for i in range(12)
    ]
    with engine_of(model, max_batch=5) as engine:
        alone = [_tokens(engine.generate(prompt, how, n=n)) for prompt, how, n in asked]
    with engine_of(model, max_batch=5) as engine:
        futures = [engine.generate(prompt, how, n=n) for prompt, how, n in asked]
        together = [_tokens(future) for future in futures]

    assert together == alone


def test_a_request_joins_while_another_is_written() -> None:
    """A newcomer neither waits for a long answer to end nor changes it."""
    model = lively_model()
    long, short = prompt_ids(model, PROMPTS[0]), prompt_ids(model, PROMPTS[2])
    order: list[str] = []
    joined: list[Future[list[Completion]]] = []
    with engine_of(model) as engine:
        undisturbed = _tokens(engine.generate(long, sampling(max_new_tokens=60)))

        def deliver(piece: Piece) -> None:
            order.append("long")
            if len(order) == 5:
                how = sampling(seed=2, max_new_tokens=10)
                joined.append(engine.generate(short, how, deliver=lambda _: order.append("short")))

        found = _tokens(engine.generate(long, sampling(max_new_tokens=60), deliver=deliver))
        assert len(_tokens(joined[0])[0]) == 10

    assert found == undisturbed
    assert order.index("short") < len(order) - 1 - order[::-1].index("long")


def test_a_sample_depends_on_its_number_alone() -> None:
    """n samples differ from each other; sample 0 of four is the sample of one."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[1])
    with engine_of(model, max_batch=3) as engine:
        four = _tokens(engine.generate(prompt, sampling(), n=4))
        one = _tokens(engine.generate(prompt, sampling(), n=1))
        other_seed = _tokens(engine.generate(prompt, sampling(seed=2), n=1))

    assert len(set(four)) == 4
    assert one == four[:1]
    assert other_seed != one


def test_an_answer_ends_where_the_model_ends_it() -> None:
    """The end of answer is drawn, counted and not shown."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[3])
    with engine_of(model) as engine:
        (free,) = engine.generate(prompt, sampling(temperature=0, max_new_tokens=12)).result(timeout=60)
        end = free.token_ids[8]
        first = free.token_ids.index(end)
    with engine_of(with_end(model, (end,))) as engine:
        (ended,) = engine.generate(prompt, sampling(temperature=0, max_new_tokens=12)).result(timeout=60)

    assert ended.token_ids == free.token_ids[: first + 1]
    assert ended.finish_reason == "stop"
    assert ended.text == model.tokenizer.decode(free.token_ids[:first], skip_special_tokens=True)


def test_an_end_of_several_tokens_is_never_shown_in_part() -> None:
    """The beginning of an end is held back until it is none."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[3])
    how = sampling(temperature=0, max_new_tokens=12)
    with engine_of(model) as engine:
        (free,) = engine.generate(prompt, how).result(timeout=60)
    for end_ids in (free.token_ids[6:9], (free.token_ids[6], 3)):
        pieces: list[str] = []
        with engine_of(with_end(model, end_ids)) as engine:
            future = engine.generate(prompt, how, deliver=lambda piece, to=pieces: to.append(piece.text))
            (found,) = future.result(timeout=60)

        is_met = end_ids == free.token_ids[6:9]
        assert found.finish_reason == ("stop" if is_met else "length")
        shown = free.token_ids[:6] if is_met else free.token_ids
        assert found.text == "".join(pieces) == model.tokenizer.decode(shown, skip_special_tokens=True)


def test_a_stop_string_may_lie_across_tokens() -> None:
    """The text ends before it, the row is given up at once, and no part of it was streamed."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[1])
    pieces: list[str] = []
    with engine_of(model) as engine:
        (free,) = engine.generate(prompt, sampling(max_new_tokens=60)).result(timeout=60)
        half = len(free.text) // 2
        stop = free.text[half - 2 : half + 3]
        how = sampling(max_new_tokens=60, stop=(stop,))
        future = engine.generate(prompt, how, deliver=lambda piece: pieces.append(piece.text))
        (stopped,) = future.result(timeout=60)

    assert stopped.text == free.text[: free.text.index(stop)] == "".join(pieces)
    assert stopped.finish_reason == "stop"
    assert len(stopped.token_ids) < len(free.token_ids)


def test_pieces_make_up_the_text() -> None:
    """What is streamed, put together, is the answer, for every sample of a request."""
    model = lively_model()
    pieces: list[Piece] = []
    with engine_of(model) as engine:
        future = engine.generate(
            prompt_ids(model, PROMPTS[0]), sampling(temperature=1.5), n=3, deliver=pieces.append
        )
        completions = future.result(timeout=60)

    for completion in completions:
        own = [piece.text for piece in pieces if piece.sample == completion.sample]
        shown = without_end(model, completion.token_ids)
        decoded = model.tokenizer.decode(shown, skip_special_tokens=True)
        assert "".join(own) == completion.text == decoded


def test_reported_log_probabilities_are_the_models() -> None:
    """Of each token, whatever the temperature was it was drawn at."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[1])
    with engine_of(model) as engine:
        (found,) = engine.generate(prompt, sampling(temperature=2), has_logprobs=True).result(timeout=60)

    expected = naive.target_logprobs(model, prompt, np.array(found.token_ids, np.int32))
    assert torch.allclose(torch.tensor(found.token_logprobs), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_come_between_the_steps_of_answers(architecture: Architecture) -> None:
    """Scoring while others are being written gives the naive scores, and changes no answer."""
    model = lively_model(architecture)
    contract = model.card.contract
    prompts = [prompt_ids(model, text) for text in PROMPTS]
    options = [encode_target(model.tokenizer, contract, text) for text in ("yes", "no", "no idea")]
    with engine_of(model) as engine:
        alone = _tokens(engine.generate(prompts[0], sampling(max_new_tokens=60)))
        writing = engine.generate(prompts[0], sampling(max_new_tokens=60))
        scorings = [engine.score(prompt, options) for prompt in prompts]
        scores = [future.result(timeout=60) for future in scorings]
        assert _tokens(writing) == alone

    for prompt, own in zip(prompts, scores, strict=True):
        for option, score in zip(options, own, strict=True):
            expected = naive.target_logprobs(model, prompt, option)
            assert score.logprob == pytest.approx(float(expected.sum()), abs=1e-3)
            assert score.num_tokens == len(option)


def test_a_cancelled_request_gives_its_rows_back() -> None:
    """The next step is made without them; who waited behind begins."""
    model = endless_model()
    prompt = prompt_ids(model, PROMPTS[0])
    begun = threading.Event()
    with gate(model) as let_pass, engine_of(model, max_batch=2) as engine:
        long = engine.generate(prompt, sampling(max_new_tokens=8_000), n=2, deliver=lambda _: begun.set())
        behind = engine.generate(prompt, sampling(max_new_tokens=1))
        let_pass(6)
        assert begun.wait(30)
        long.cancel()
        # The pass that may have begun before the cancellation, the newcomer's prompt: no third.
        let_pass(2)

        assert len(behind.result(timeout=60)) == 1
        wait_until(lambda: engine.status().active == 0)


def test_a_cancelled_request_never_begins() -> None:
    """While it waits it is forgotten: its prompt is not read, its place in the queue is free."""
    model = endless_model()
    prompt = prompt_ids(model, PROMPTS[0])
    with gate(model) as let_pass, engine_of(model, max_batch=1) as engine:
        running = engine.generate(prompt, sampling(max_new_tokens=8_000))
        let_pass(3)
        wait_until(lambda: engine.status().active == 1)
        waiting = [engine.generate(prompt, sampling(max_new_tokens=1)) for _ in range(2)]
        waiting[0].cancel()
        let_pass(2)
        wait_until(lambda: engine.status().waiting == 1)
        assert engine.status().active == 1
        running.cancel()
        let_pass(3)
        assert len(waiting[1].result(timeout=60)) == 1


def test_a_full_engine_refuses() -> None:
    """max_batch sequences and max_waiting requests; one more is refused with both figures."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[0])
    with gate(model) as let_pass, engine_of(model, max_batch=1, max_waiting=1) as engine:
        futures = [engine.generate(prompt, sampling(max_new_tokens=2)) for _ in range(2)]
        with pytest.raises(Overloaded) as refused:
            engine.generate(prompt, sampling())
        let_pass(100)
        assert [len(_tokens(future)[0]) for future in futures] == [2, 2]
        wait_until(lambda: engine.status().active == 0)
        assert len(_tokens(engine.generate(prompt, sampling(max_new_tokens=1)))[0]) == 1

    assert refused.value.values["max_waiting"] == 1


def test_more_samples_than_rows_are_written_in_turns() -> None:
    """A request larger than the batch begins with what there is room for."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[0])
    with engine_of(model, max_batch=3) as engine:
        found = engine.generate(prompt, sampling(), n=8).result(timeout=60)

    assert [completion.sample for completion in found] == list(range(8))
    assert len({completion.token_ids for completion in found}) == 8


def test_a_failed_engine_says_so_to_everyone() -> None:
    """An error inside the network ends the engine: who waits hears of it, who comes is refused."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[0])

    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    with engine_of(model, max_batch=1) as engine:
        assert engine.status().is_alive
        handle = model.network.get_input_embeddings().register_forward_pre_hook(fail)
        try:
            futures = [engine.generate(prompt, sampling()), engine.generate(prompt, sampling())]
            for future in futures:
                assert isinstance(future.exception(timeout=60), EngineStopped)
        finally:
            handle.remove()
        wait_until(lambda: not engine.status().is_alive)
        with pytest.raises(EngineStopped):
            engine.score(prompt, [prompt])
        assert str(engine.failure) == "the device is gone"


def test_logits_that_are_no_numbers_fail_their_request_alone() -> None:
    """The others in the batch go on, beside them and in their places afterwards."""
    model = lively_model()
    good, bad = prompt_ids(model, PROMPTS[0]), prompt_ids(model, PROMPTS[1])
    with engine_of(model) as engine:
        expected = _tokens(engine.generate(good, sampling(), n=2))
    used = {*good.tolist(), *(token for tokens in expected for token in tokens)}
    table = model.network.get_input_embeddings().weight.data
    token = next(token for token in bad.tolist() if token not in used)
    before = table[token].clone()
    try:
        with torch.inference_mode():
            table[token] = torch.nan
        with engine_of(model) as engine:
            futures = [engine.generate(prompt, sampling(), n=2) for prompt in (good, bad, good)]
            scoring = engine.score(bad, [good[:3]])
            assert isinstance(futures[1].exception(timeout=60), NotFinite)
            assert isinstance(scoring.exception(timeout=60), NotFinite)
            assert _tokens(futures[0]) == _tokens(futures[2]) == expected
            assert _tokens(engine.generate(good, sampling(), n=2)) == expected
            assert engine.status().is_alive
    finally:
        with torch.inference_mode():
            table[token] = before


def _ids(rng: np.random.Generator, length: int) -> Ids:
    return rng.integers(3, 380, size=length, dtype=np.int32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_known_beginning_is_not_read_again(architecture: Architecture) -> None:
    """Samples of one prompt and prompts that begin alike: the same answers and scores, for a part of the reading."""
    model, rng = lively_model(architecture), np.random.default_rng(5)
    instruction = _ids(rng, 100)
    prompts = [np.concatenate([instruction, _ids(rng, 20)]) for _ in range(4)]
    options = [encode_target(model.tokenizer, model.card.contract, text) for text in ("yes", "no", "no idea")]
    alone, scored_alone = [], []
    for prompt in prompts:
        with engine_of(model) as engine:
            alone.append(_tokens(engine.generate(prompt, sampling(), n=3)))
            scored_alone.append(engine.score(prompt, options).result(timeout=60))
    with engine_of(model) as engine:
        futures = [engine.generate(prompt, sampling(), n=3) for prompt in prompts]
        scorings = [engine.score(prompt, options) for prompt in prompts]
        together = [_tokens(future) for future in futures]
        scored = [future.result(timeout=60) for future in scorings]
        again = _tokens(engine.generate(prompts[0], sampling(), n=3))
        status = engine.status()

    assert together == alone
    assert again == alone[0]
    for own, expected in zip(scored, scored_alone, strict=True):
        assert [each.logprob for each in own] == pytest.approx([each.logprob for each in expected], abs=1e-4)
    if architecture == "decoder":
        # Of 100 tokens in common, 96 are in whole blocks; of 120, 112.
        assert status.read_tokens + status.copied_tokens == 120 * (4 * 3 + 4 + 3)
        assert status.copied_tokens >= 96 * 3 + 112 * (4 * 2 + 4 + 3)
    else:
        assert status.read_tokens == 120 * 4
        assert status.copied_tokens == 120 * (4 * 2 + 3)


def test_a_long_prompt_is_read_in_parts() -> None:
    """Those who are being written get a token with every part of it: nobody waits for the whole."""
    model = endless_model()
    rng = np.random.default_rng(6)
    written: list[int] = []
    at_begin: list[int] = []
    with engine_of(model) as engine:
        short = engine.generate(
            _ids(rng, 5), sampling(max_new_tokens=8_000), deliver=lambda _: written.append(1)
        )
        wait_until(lambda: engine.status().tokens > 3)
        long = engine.generate(
            _ids(rng, 6_000),
            sampling(max_new_tokens=1),
            began=lambda: at_begin.append(engine.status().tokens),
        )
        long.result(timeout=60)
        tokens = engine.status().tokens
        short.cancel()

    assert tokens - at_begin[0] >= 6_000 // READ_BESIDE


def test_what_a_request_may_need_is_free_before_it_begins() -> None:
    """The cache bounds how many are in flight; who waits begins as others end, and nothing is left taken."""
    model, rng = lively_model(), np.random.default_rng(7)
    with engine_of(model, max_batch=32, cache_bytes=2**20) as engine:
        places = engine.status().cache_places
        most = places // 640
        held = [engine.generate(_ids(rng, 600), sampling(max_new_tokens=32, temperature=2)) for _ in range(9)]
        seen = 0
        while not all(future.done() for future in held):
            status = engine.status()
            assert status.cache_used <= places
            seen = max(seen, status.active)
        with pytest.raises(CacheTooSmall):
            engine.generate(_ids(rng, places), sampling())
        wait_until(lambda: engine.status().cache_used == 0)

    assert all(len(_tokens(future)[0]) > 0 for future in held)
    assert 0 < seen <= most


def test_a_stopped_engine_holds_no_cache() -> None:
    """Whoever keeps it: the routes of a face do, for as long as the process lives."""
    before = psutil.Process().memory_info().vms
    with engine_of(lively_model(), cache_bytes=2**32) as engine:
        assert psutil.Process().memory_info().vms - before >= 2**32

    assert psutil.Process().memory_info().vms - before < 2**31
    assert engine.status().cache_used == 0


def test_clients_take_turns() -> None:
    """One with forty requests in line does not keep another waiting behind them."""
    model = lively_model()
    order: list[str] = []

    def note(client: str) -> Callable[[], None]:
        return lambda: order.append(client)

    with gate(model) as let_pass, engine_of(model, max_batch=1, max_waiting=100) as engine:
        futures = [
            engine.generate(
                prompt_ids(model, PROMPTS[0]), sampling(max_new_tokens=1), began=note("a"), client="a"
            )
            for _ in range(40)
        ]
        futures += [
            engine.generate(
                prompt_ids(model, PROMPTS[1]), sampling(max_new_tokens=1), began=note(name), client=name
            )
            for name in ("b", "b", "c")
        ]
        let_pass(10_000)
        for future in futures:
            future.result(timeout=60)

    assert sorted(order[1:4]) == ["a", "b", "c"]
    assert sorted(order[4:6]) == ["a", "b"]
    assert order[6:] == ["a"] * 37


def test_too_many_tokens_in_line_are_refused() -> None:
    """However few the requests are; the error has both numbers."""
    model = lively_model()
    prompt = prompt_ids(model, PROMPTS[0])
    with gate(model) as let_pass, engine_of(model, max_batch=1, max_waiting_tokens=2_000) as engine:
        futures = [engine.generate(prompt, sampling(max_new_tokens=900)) for _ in range(3)]
        with pytest.raises(Overloaded) as refused:
            engine.generate(prompt, sampling(max_new_tokens=900))
        for future in futures:
            future.cancel()
        let_pass(100)

    assert refused.value.values["max_waiting_tokens"] == 2_000
    assert 1_800 < int(refused.value.values["waiting_tokens"]) < 2_000


@pytest.mark.parametrize("num_requests", [60, pytest.param(1_000, marks=pytest.mark.slow)])
def test_clients_that_go_away_leave_nothing_behind(num_requests: int) -> None:
    """Answers and scores cancelled at any moment: no sequence, no place of the cache, no request is left."""
    model, rng = endless_model(), np.random.default_rng(8)
    options = [_ids(rng, 4) for _ in range(3)]
    with engine_of(model, max_batch=8, max_waiting=2_000) as engine:
        shared = _ids(rng, 64)
        held: list[Future[Any]] = []
        for i in range(num_requests):
            prompt = np.concatenate([shared[: int(rng.integers(0, 64))], _ids(rng, int(rng.integers(1, 90)))])
            if i % 3 == 2:
                held.append(engine.score(prompt, options))
            else:
                how = sampling(seed=i, max_new_tokens=int(rng.integers(1, 400)))
                held.append(engine.generate(prompt, how, n=1 + i % 4, client=str(i % 5)))
            if len(held) > 20:
                held.pop(int(rng.integers(len(held)))).cancel()
        for future in held:
            future.cancel()
        wait_until(lambda: engine.status().active == engine.status().waiting == 0)
        status = engine.status()
        regions = engine._passes.regions
        regions.clear()

        assert status.is_alive
        assert status.cache_used == 0
        assert regions._placed == []
        assert len(_tokens(engine.generate(shared, sampling()))) == 1


def test_a_penalty_keeps_tokens_from_coming_again() -> None:
    """With a large one, what the model writes greedily never repeats a token, nor one of the prompt."""
    model = endless_model()
    prompt = prompt_ids(model, PROMPTS[0])
    how = sampling(temperature=0, max_new_tokens=60)
    with engine_of(model) as engine:
        ((free,), (kept,)) = (
            _tokens(engine.generate(prompt, each))
            for each in (how, how.model_copy(update={"repetition_penalty": 10.0}))
        )

    assert len({*free}) < 60
    assert len({*kept}) == 60
    assert not {*kept} & {*prompt.tolist()}
