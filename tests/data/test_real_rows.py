"""The whole collection through the stream, with rows as the hub has them."""

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from flan.data.mixture import mixer_of, usable_templates
from flan.data.rows import EmptyDataset, MissingRows, Places, Rows, open_rows
from flan.data.stream import Stream
from flan.data.tokens import make_contract
from flan.spec import TuneSpec
from flan.tasks.render import instance, render
from flan.tasks.task import Task, load_collection

DATA = os.environ.get("FLAN_DATA")


def _train_rows(task: Task, places: Places) -> Rows | None:
    """None where they are not at hand, or fewer than are held back for validation."""
    try:
        return open_rows(task, "train", places)
    except (MissingRows, EmptyDataset):
        return None


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="FLAN_DATA is not set")
def test_labels_of_real_packs_decode_to_the_rendered_targets() -> None:
    """No row is bad, at FLAN's lengths the packs are 98% full, and what carries loss is target + EOS."""
    places = Places(Path(str(DATA)), None)
    tasks = {name: task for name, task in load_collection("flan").items() if "train" in task.source.splits}
    rows = {name: found for name, task in tasks.items() if (found := _train_rows(task, places)) is not None}
    tasks = {name: tasks[name] for name in rows}
    assert len(tasks) > 50
    tokenizer = AutoTokenizer.from_pretrained(Path(str(DATA)) / "models" / "tokenizer-gpt2")
    spec = TuneSpec(name="real", base="preset:nano")
    mixer = mixer_of(spec, tasks, {name: len(found) for name, found in rows.items()})
    with Stream.open(spec, tasks, rows, tokenizer, make_contract(tokenizer, "decoder")) as stream:
        steps = [stream.next_step() for _ in range(60)]
        counts = stream.counts()

    num_slots = sum(step.packs.segment_ids.size for step in steps)
    assert sum(step.num_tokens for step in steps) / num_slots >= 0.98
    assert sum(each.bad_row for each in counts.values()) == 0
    assert sum(each.drawn > 0 for each in counts.values()) == len(tasks)
    for step in steps[::6]:
        for row, draws in enumerate(step.draws):
            for segment, number in enumerate(draws, start=1):
                draw = mixer.draw(number)
                task = tasks[draw.task]
                template = task.templates[usable_templates(task, spec.mixture)[draw.template]]
                target = render(instance(task, rows[draw.task][draw.row]), template).target
                weighted = (step.packs.segment_ids[row] == segment) & (step.packs.loss_weights[row] == 1)
                ids = step.packs.target_ids[row, weighted]
                assert (
                    tokenizer.decode(ids, clean_up_tokenization_spaces=False) == target + tokenizer.eos_token
                )
