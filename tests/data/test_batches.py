"""The stream is a pure function of spec and position, and every rank's share is exactly its part of a step."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.batches import StepBatch, Steps, StreamChanged, StreamState, by_task, share
from flan.data.encoding import Encoded, LocalEncoder
from flan.data.mixture import mixer_of, usable_templates
from flan.data.packing import PackedDecoder
from flan.data.rows import Rows
from flan.data.tokens import TargetTooLong
from flan.spec import Mixture, Pins, TuneSpec, canonical_json, parse
from flan.tasks.render import instance, render
from flan.tasks.task import Task
from flan.tasks.template import RowError
from tests.kit.streams import CONTRACTS, ROWS, SPEC, TASKS, TOKENIZER
from tests.kit.tasks import make_rows, make_task, rows_in_memory


def open_stream(
    start: StreamState | None = None,
    *,
    architecture: str = "decoder",
    spec: TuneSpec = SPEC,
    rows: dict[str, Rows] = ROWS,
    tasks: dict[str, Task] = TASKS,
    draws: str = "0" * 64,
) -> Steps:
    contract = CONTRACTS[architecture]
    encoder = LocalEncoder(spec, {name: tasks[name] for name in rows}, rows, TOKENIZER, contract)
    return Steps(spec, contract, encoder, draws, start or StreamState())


def same(a: StepBatch, b: StepBatch) -> bool:
    return a[1:] == b[1:] and all(np.array_equal(x, y) for x, y in zip(a.packs, b.packs, strict=True))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 12), st.sampled_from([*CONTRACTS]))
def test_reopened_stream_goes_on_with_the_same_bits(cut: int, architecture: str) -> None:
    """From the state after any step, through JSON, the following steps, states and counts are the same."""
    stream = open_stream(architecture=architecture)
    for _ in range(cut):
        stream.make()
    text = json.dumps(stream.state().model_dump(mode="json"))
    again = open_stream(parse(StreamState, json.loads(text)), architecture=architecture)
    for _ in range(4):
        assert same(stream.make(), again.make())
        assert stream.state() == again.state()


def test_stream_goes_on_only_with_the_draws_it_began_with() -> None:
    """A stream whose first draws are others than those of a state refuses to go on from it."""
    state = StreamState(draws="0" * 64)

    assert open_stream(state).state() == state
    with pytest.raises(StreamChanged, match=r"0{12}.*f{12}"):
        open_stream(state, draws="f" * 64)


def test_digest_is_of_task_row_and_template_of_each_draw() -> None:
    """Another seed, another choice of templates or of rows: another digest; what is not drawn does not count."""

    def digest(spec: TuneSpec = SPEC, rows: dict[str, Rows] = ROWS) -> str:
        return LocalEncoder(spec, TASKS, rows, TOKENIZER, CONTRACTS["decoder"]).digest()

    other = [
        digest(SPEC.model_copy(update={"seed": 6})),
        digest(SPEC.model_copy(update={"mixture": Mixture(templates_per_task=2)})),
        digest(rows=ROWS | {"mood": rows_in_memory(make_rows(41, words=6))}),
    ]
    same_draws = SPEC.model_copy(update={"input_length": 90, "name": "other"})

    assert len({digest(), *other}) == 4
    assert digest() == digest(same_draws)


def test_digest_is_of_the_first_ten_thousand_draws() -> None:
    """All of them, in their order, and nothing else of the spec."""
    mixer = mixer_of(SPEC, TASKS, {name: len(rows) for name, rows in ROWS.items()})
    text = canonical_json([[*mixer.draw(number)] for number in range(10_000)])

    found = LocalEncoder(SPEC, TASKS, ROWS, TOKENIZER, CONTRACTS["decoder"]).digest()
    assert found == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("position", [7_001, 10**12])
def test_a_stream_opens_at_a_position_without_what_was_before_it(position: int) -> None:
    """Nothing before it is drawn or encoded; from there on come the draws that every stream has there."""
    drawn: list[int] = []

    class Watched(LocalEncoder):
        def encode(self, draws: Sequence[int]) -> list[Encoded]:
            drawn.extend(draws)
            return super().encode(draws)

    encoder = Watched(SPEC, TASKS, ROWS, TOKENIZER, CONTRACTS["decoder"])
    stream = Steps(SPEC, CONTRACTS["decoder"], encoder, "0" * 64, StreamState(next_draw=position))
    first = [number for pack in stream.make().draws for number in pack]

    assert drawn == [*range(position, position + len(drawn))]
    assert len(drawn) < 1_000
    assert position <= min(first) <= max(first) < stream.state().next_draw


def test_with_loss_on_all_every_token_but_the_first_is_learned() -> None:
    """The same tokens in the same packs; what is supervised, and what is counted of it, is more."""
    targets = open_stream().make()
    everything = open_stream(spec=SPEC.model_copy(update={"loss_on": "all"})).make()

    assert isinstance(targets.packs, PackedDecoder)
    assert isinstance(everything.packs, PackedDecoder)
    assert np.array_equal(targets.packs.token_ids, everything.packs.token_ids)
    num_examples = sum(map(len, everything.draws))
    assert everything.target_tokens == everything.packs.loss_weights.sum()
    assert everything.target_tokens == everything.num_tokens - num_examples
    assert everything.target_tokens > targets.target_tokens == targets.packs.loss_weights.sum()


@pytest.mark.parametrize("architecture", [*CONTRACTS])
def test_step_is_the_draws_it_names(architecture: str) -> None:
    """Decoding a step's weighted labels gives the rendered targets of its draws, each with one EOS."""
    mixer = mixer_of(SPEC, TASKS, {name: len(rows) for name, rows in ROWS.items()})
    stream = open_stream(architecture=architecture)
    made = [stream.make() for _ in range(6)]
    for step in made:
        segments = step.packs.segment_ids if architecture == "decoder" else step.packs.decoder_segment_ids
        assert len(step.draws) == SPEC.packs_per_step == len(segments)
        assert step.target_tokens == step.packs.loss_weights.sum()
        for row, draws in enumerate(step.draws):
            for segment, number in enumerate(draws, start=1):
                weighted = (segments[row] == segment) & (step.packs.loss_weights[row] == 1)
                draw = mixer.draw(number)
                task = TASKS[draw.task]
                template = task.templates[usable_templates(task, SPEC.mixture)[draw.template]]
                target = render(instance(task, ROWS[draw.task][draw.row]), template).target
                assert TOKENIZER.decode(step.packs.target_ids[row, weighted]) == target + TOKENIZER.eos_token


def test_every_draw_is_trained_on_once_or_dropped_and_counted() -> None:
    """Steps, packs still open and drops together are all draws so far, each once."""
    stream = open_stream()
    trained = [number for _ in range(20) for pack in stream.make().draws for number in pack]
    state = stream.state()
    waiting = [*state.waiting]
    num_dropped = sum(counts.target_too_long for counts in state.counts.values())

    assert len(set(trained + waiting)) == len(trained + waiting)
    assert len(trained + waiting) + num_dropped == state.next_draw
    assert sum(counts.drawn for counts in state.counts.values()) == state.next_draw


def test_what_a_stream_used_is_counted_by_part_task_and_template() -> None:
    """As often as its draws say; the shares of a run are made of these counts."""
    pins = Pins(
        tasks={},
        train=("mood", "taste"),
        leaves=(("mood",), ("mood", "taste")),
    )
    parts = Mixture(parts=(Mixture(name="a"), Mixture(name="b", weight=2.0, include_inverted=False)))
    spec = SPEC.model_copy(update={"mixture": parts, "pins": pins})
    stream = open_stream(spec=spec)
    for _ in range(10):
        stream.make()
    state = stream.state()
    mixer = mixer_of(spec, TASKS, {name: len(rows) for name, rows in ROWS.items()})
    drawn = [mixer.draw(number) for number in range(state.next_draw)]
    templates = Counter((f"{'ab'[draw.leaf]}/{draw.task}", str(draw.template)) for draw in drawn)
    together = by_task(state.counts)

    assert set(state.counts) == {"a/mood", "b/mood", "b/taste"}
    for name, counts in state.counts.items():
        assert counts.used == sum(counts.templates.values())
        if counts.used == counts.drawn:
            assert counts.templates == {place: n for (key, place), n in templates.items() if key == name}
    assert together["taste"].input_tokens == state.counts["b/taste"].input_tokens
    assert together["mood"].drawn == state.counts["a/mood"].drawn + state.counts["b/mood"].drawn
    assert sum(counts.drawn for counts in together.values()) == state.next_draw


def test_cuts_and_drops_are_counted_by_task() -> None:
    """Long fields are cut, long targets dropped; the counts say how often, and how many tokens each task took."""
    stream = open_stream()
    for _ in range(20):
        stream.make()
    counts = stream.state().counts

    # Rows of "taste" are longer than the input; as targets of the inverted template they are too long.
    assert counts["mood"].cut == counts["mood"].bad_row == 0
    assert counts["taste"].cut + counts["taste"].target_too_long == counts["taste"].drawn
    assert counts["taste"].input_tokens <= counts["taste"].cut * SPEC.input_length
    assert counts["taste"].input_tokens > counts["mood"].input_tokens / 2


def test_bad_rows_are_dropped_and_counted() -> None:
    """A row without a label, and a broken line, cost one draw each and not the job."""
    good = make_rows(6)
    lines = [json.dumps(row).encode() for row in good] + [b'{"text": "x", "label": null}', b'{"text": ']
    rows = {"mood": Rows(b"\n".join(lines), "kit", "")}
    stream = open_stream(rows=rows)
    for _ in range(5):
        stream.make()
    counts = stream.state().counts["mood"]

    assert counts.bad_row == pytest.approx(counts.drawn / 4, abs=3)


def test_an_answer_that_is_no_option_costs_its_row_alone() -> None:
    """Whatever kind of fault a row has, it is counted as a bad row."""
    task = make_task(answer={"column": "label", "choices": ["neg", "pos"]})
    rows = {"mood": rows_in_memory([*make_rows(6), {"text": "x", "label": "maybe"}])}
    stream = open_stream(rows=rows, tasks={"mood": task})
    for _ in range(5):
        stream.make()
    counts = stream.state().counts["mood"]

    assert counts.bad_row == pytest.approx(counts.drawn / 7, abs=3)
    assert counts.bad_row > 0


ASKING = {"language": "promptsource", "id": "1", "name": "a", "jinja": "{{ text }} ||| {{ label }}"}


def _of_promptsource(*jinja: str) -> Task:
    """The mood task through templates of promptsource."""
    templates = [ASKING | {"id": str(i), "name": str(i), "jinja": each} for i, each in enumerate(jinja)]
    document = make_task().model_dump(mode="json") | {"fields": {}, "answer": None, "templates": templates}
    return parse(Task, document)


def test_a_template_for_some_rows_comes_as_often_as_the_others() -> None:
    """Where it passes over the row of a draw it asks about another: nothing is lost, and every such draw counted."""
    seldom = "{% if text.startswith('3 ') %}{{ text }} ||| yes{% endif %}"
    task = _of_promptsource("{{ text }} ||| {{ label }}", seldom)
    stream = open_stream(rows={"mood": rows_in_memory(make_rows(8))}, tasks={"mood": task})
    for _ in range(20):
        stream.make()
    counts = stream.state().counts["mood"]

    assert counts.used == counts.drawn
    assert counts.other_row == pytest.approx(counts.drawn * 7 / 16, rel=0.15)
    assert counts.templates["1"] == pytest.approx(counts.drawn / 2, rel=0.15)


def test_a_template_for_no_row_costs_its_draws() -> None:
    """They are dropped and counted; so are rows that leave a side blank without a condition."""
    for never in ("{% if false %}{{ text }} ||| yes{% endif %}", "{{ text }} ||| {{ nothing }}"):
        task = _of_promptsource("{{ text }} ||| {{ label }}", never)
        stream = open_stream(rows={"mood": rows_in_memory(make_rows(8))}, tasks={"mood": task})
        for _ in range(5):
            stream.make()
        counts = stream.state().counts["mood"]

        assert counts.bad_row == pytest.approx(counts.drawn / 2, rel=0.25)
        assert counts.other_row == 0


def test_drawn_layouts_follow_the_draw() -> None:
    """Options are laid out anew for each example, and the same in every run of the spec."""
    spec = SPEC.model_copy(update={"mixture": Mixture(options="flan2022")})
    one = open_stream(spec=spec)
    other = open_stream(spec=spec)
    plain = open_stream()
    for _ in range(3):
        step = one.make()
        assert same(step, other.make())
        assert not same(step, plain.make())


def test_stream_without_a_usable_draw_fails_with_the_reason() -> None:
    """When nothing can be used the stream says why instead of searching for ever."""
    bad = {"mood": rows_in_memory([{"text": "x", "label": "strange"}])}
    long = {"taste": ROWS["taste"]}
    short = SPEC.model_copy(update={"mixture": Mixture(templates_per_task=3), "target_length": 2})
    stream = open_stream(rows=bad)
    with pytest.raises(RowError, match="strange"):
        stream.make()
    stream = open_stream(rows=long, spec=short)
    with pytest.raises(TargetTooLong):
        stream.make()


def test_mixture_reaches_the_stream() -> None:
    """Templates and caps of the spec are those that are drawn: no inverted one where none is asked for."""
    mixture = Mixture(include_inverted=False, examples_cap=3)
    stream = open_stream(spec=SPEC.model_copy(update={"mixture": mixture}))
    text = "".join(TOKENIZER.decode(pack) for _ in range(10) for pack in stream.make().packs.token_ids)

    assert "Write a" not in text
    assert 1 <= len(set(re.findall(r"(\d+) fine", text))) <= 3 * len(TASKS)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5))
def test_shares_of_the_ranks_are_the_step(num_packs: int, ranks: int, micro_batch: int) -> None:
    """Every pack goes to exactly one rank; all ranks get the same shapes; the rest is empty."""
    step = numbered_step(num_packs)
    shares = [share(step, rank, ranks, micro_batch) for rank in range(ranks)]
    shapes = [[batch.token_ids.shape for batch in mine] for mine in shares]
    rows = np.concatenate([batch.token_ids for mine in shares for batch in mine])
    weights = sum(batch.loss_weights.sum() for mine in shares for batch in mine)

    assert shapes == [shapes[0]] * ranks
    assert all(rows <= micro_batch for rows, _ in shapes[0])
    assert sorted(rows[rows[:, 0] > 0][:, 0].tolist()) == list(range(1, num_packs + 1))
    assert len(rows) - num_packs < ranks
    assert weights == step.target_tokens


@lru_cache
def numbered_step(num_packs: int) -> StepBatch:
    spec = SPEC.model_copy(update={"tokens_per_step": num_packs * SPEC.packed_length})
    step = open_stream(spec=spec).make()
    step.packs.token_ids[:, 0] = np.arange(1, num_packs + 1)
    return step
