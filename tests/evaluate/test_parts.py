"""Ranks share the rows of a split, and end alike."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore

from flan import rundir
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places
from flan.evaluate.kept import FOLDER, Kept, key_of
from flan.evaluate.parts import FailedElsewhere, Found, Part, Pauses, Stopped, answer_part
from flan.model.load import Model
from flan.stopping import WishReader
from flan.store import Store
from flan.train.ranks import Ranks
from tests.evaluate.asking import prepared
from tests.kit.models import tiny_model


def answered_by(
    directory: Path, models: list[Model], stopped: int | None = None
) -> list[Future[Found | None]]:
    """One split answered by as many ranks as there are models, each in a thread; `stopped` is told to stop."""
    settings, spec = rundir.read_settings(directory), rundir.read_spec(directory)
    store, hash_store = Store(Path(settings.store)), HashStore()
    ((name, task),) = pinned_tasks(spec, store).items()
    rows = open_pinned_rows(spec, {name: task}, spec.split, Places(None, store))[name]
    part = Part(task, spec, rows, None)

    def be(rank: int) -> Found | None:
        wishes = WishReader(directory, reads_file=rank == stopped)
        pauses = Pauses(None, wishes, part.num_questions, len(models))
        peers = Ranks(rank, len(models), torch.device("cpu"), hash_store)
        return answer_part(part, Kept(settings, spec, rank), models[rank], peers, pauses)

    with ThreadPoolExecutor(len(models)) as threads:
        return [threads.submit(be, rank) for rank in range(len(models))]


def test_ranks_answer_each_row_once(tmp_path: Path) -> None:
    """Rank 0 has the answers of all, those of one rank to rounding; each kept its own rows alone."""
    spec, directory = prepared(tmp_path, limit=5)
    alone = answered_by(directory, [tiny_model()])[0].result()
    Kept(rundir.read_settings(directory), spec, 0).remove()

    first, second = (each.result() for each in answered_by(directory, [tiny_model(), tiny_model()]))

    assert alone is not None and first is not None and second is None
    assert [key_of(one.question) for one in first.answered] == [
        key_of(one.question) for one in alone.answered
    ]
    for mine, theirs in zip(first.answered, alone.answered, strict=True):
        assert mine.text == theirs.text
        assert mine.options is not None and theirs.options is not None
        assert mine.options.logprobs == pytest.approx(theirs.options.logprobs, abs=1e-4)
    shares = [
        {row for line in path.read_text().splitlines() for _, row, *_ in json.loads(line)}
        for path in sorted((directory.parent / FOLDER).glob("*/*/*.jsonl"))
    ]
    assert len(shares) == 2 and not shares[0] & shares[1]


def test_a_rank_that_stops_stops_all(tmp_path: Path) -> None:
    """Whichever hears of the wish: no rank waits for one that is gone."""
    _, directory = prepared(tmp_path, limit=3)
    rundir.write_wish(directory, "pause")

    ended = answered_by(directory, [tiny_model(), tiny_model()], stopped=1)

    assert [type(each.exception()) for each in ended] == [Stopped, Stopped]


def test_a_rank_that_fails_is_told_of_at_rank_0(tmp_path: Path) -> None:
    """The task fails for all of them, and rank 0 knows why."""
    _, directory = prepared(tmp_path, limit=3)
    damaged = tiny_model()
    with torch.no_grad():
        damaged.network.get_input_embeddings().weight.fill_(float("nan"))

    first, second = answered_by(directory, [tiny_model(), damaged])

    assert isinstance(first.exception(), FailedElsewhere)
    assert "rank 1: tiny-decoder gives option 0" in str(first.exception())
    assert isinstance(second.exception(), FailedElsewhere)
