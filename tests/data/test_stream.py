"""The stream is the same whoever takes its steps and however many processes encode them; and it ends whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flan.data.batches import StepBatch, Steps, StreamState
from flan.data.children import LoaderBroken, LoaderDied, share_pickle
from flan.data.encoding import LocalEncoder
from flan.data.loaders import Loaders, Material, Order
from flan.data.rows import Rows
from flan.data.stream import Stream
from flan.data.tokens import serialised
from flan.errors import FlanError
from flan.tasks.template import RowError
from tests.kit.streams import CONTRACTS, ROWS, SPEC, TASKS, TOKENIZER
from tests.kit.tasks import rows_in_memory

ENDS_S = 20


def open_stream(
    start: StreamState | None = None,
    *,
    architecture: str = "decoder",
    rows: dict[str, Rows] = ROWS,
    ranks: int = 1,
    loaders: int = 1,
) -> Stream:
    tasks = {name: TASKS[name] for name in rows}
    contract = CONTRACTS[architecture]
    return Stream.open(SPEC, tasks, rows, TOKENIZER, contract, start, ranks=ranks, loaders=loaders)


def made_here(architecture: str = "decoder") -> Iterator[tuple[StepBatch, StreamState]]:
    """The steps of the same stream without any other process."""
    contract = CONTRACTS[architecture]
    encoder = LocalEncoder(SPEC, TASKS, ROWS, TOKENIZER, contract)
    steps = Steps(SPEC, contract, encoder, encoder.digest(), StreamState())
    while True:
        yield steps.make(), steps.state()


def same(a: StepBatch, b: StepBatch) -> bool:
    return a[1:] == b[1:] and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a.packs, b.packs, strict=True)
    )


def processes_of(pid: int, others: Sequence[psutil.Process] = ()) -> list[psutil.Process]:
    """Those below `pid`, but for `others`: the servers of the tests may be below it, too."""
    return [child for child in psutil.Process(pid).children(recursive=True) if child not in others]


@pytest.mark.parametrize(
    ("architecture", "ranks", "loaders"),
    [("decoder", 1, 1), ("encoder_decoder", 3, 1), ("decoder", 2, 3)],
)
def test_every_rank_gets_the_same_steps_whoever_encodes_them(
    architecture: str, ranks: int, loaders: int
) -> None:
    """Bit for bit those that one process makes, with their states, at every rank, beyond what fits into the ring."""
    expected = made_here(architecture)
    with ExitStack() as stack:
        first = stack.enter_context(open_stream(architecture=architecture, ranks=ranks, loaders=loaders))
        streams = [first, *(stack.enter_context(Stream.join(first.address)) for _ in range(ranks - 1))]
        assert [each.state() for each in streams] == [StreamState()] * ranks
        for step, state in (next(expected) for _ in range(9)):
            for each in streams:
                assert same(each.next_step(), step)
                assert each.state() == state
        assert {each.digest() for each in streams} == {state.draws}


def test_state_moves_with_the_steps_handed_out_and_reopens_there() -> None:
    """Steps made ahead do not show: a stream that is opened from a state goes on with the very next step."""
    with open_stream(loaders=2) as stream:
        stream.next_step()
        after_one = stream.state()
        expected = [stream.next_step() for _ in range(5)]
        with open_stream(after_one) as again:
            assert again.state() == after_one
            assert all(same(again.next_step(), step) for step in expected)


def test_loaders_share_draws_out_without_overlap_or_gap() -> None:
    """Any draws, by any number of loaders: each comes back once, in order, with the ids it has here."""
    here = LocalEncoder(SPEC, TASKS, ROWS, TOKENIZER, CONTRACTS["decoder"])
    material = Material(SPEC, TASKS, ROWS, serialised(TOKENIZER), CONTRACTS["decoder"])
    setup = share_pickle(Order(material, StreamState(), ranks=1, loaders=3))
    pools = [Loaders(setup, number) for number in (1, 2, 3)]
    os.close(setup)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, 200_000), max_size=400), st.sampled_from(pools))
    @example([*range(900)], pools[1])  # more blocks than are in hand at a time
    @example([*range(900, 0, -1)], pools[2])
    def check(draws: list[int], pool: Loaders) -> None:
        for there, expected in zip(pool.encode(draws), here.encode(draws), strict=True):
            assert (there.task, there.was_cut) == (expected.task, expected.was_cut)
            if isinstance(expected.tokens, FlanError):
                assert (type(there.tokens), str(there.tokens)) == (
                    type(expected.tokens),
                    str(expected.tokens),
                )
            else:
                assert all(map(np.array_equal, there.tokens, expected.tokens))

    try:
        check()
    finally:
        for pool in pools:
            pool.close()


@pytest.mark.parametrize("loaders", [1, 2])
def test_what_fails_there_is_raised_at_every_rank_with_its_traceback(loaders: int) -> None:
    """The error is the one that was raised, not that of a broken pipe; its cause says where."""
    bad = {"mood": rows_in_memory([{"text": "x", "label": "strange"}])}
    with open_stream(rows=bad, ranks=2, loaders=loaders) as stream, Stream.join(stream.address) as other:
        for each in (stream, other):
            with pytest.raises(RowError, match="strange") as caught:
                each.next_step()
            assert "flan/data/batches.py" in str(caught.value.__cause__)


def test_a_fault_in_a_loader_fails_the_rank() -> None:
    """Whatever breaks while encoding reaches the rank through both processes, as a fault of ours."""
    nameless = {"label": {"ClassLabel": 2}}
    rows = {"mood": Rows(b'{"text": "x", "label": 1}', "kit", "", nameless)}
    with (
        open_stream(rows=rows, loaders=2) as stream,
        pytest.raises(LoaderBroken, match="TypeError") as caught,
    ):
        stream.next_step()

    assert "flan/data/loaders.py" in str(caught.value.__cause__)


@pytest.mark.parametrize(("loaders", "victim"), [(1, 0), (2, -1)])
def test_a_killed_process_fails_the_rank(loaders: int, victim: int) -> None:
    """Feeder or loader: the rank learns of it at its next step that is not made yet, and all others end."""
    others = processes_of(os.getpid())
    with open_stream(loaders=loaders) as stream:
        stream.next_step()
        children = processes_of(os.getpid(), others)
        children[victim].send_signal(signal.SIGKILL)
        with pytest.raises(LoaderDied, match="SIGKILL"):
            for _ in range(200):
                stream.next_step()
    _, alive = psutil.wait_procs(children, ENDS_S)

    assert not alive


RANK = """
import json, sys
from pathlib import Path
from tokenizers import Tokenizer
from flan.card import Contract
from flan.data.rows import Rows
from flan.data.stream import Stream
from flan.spec import TuneSpec, parse
from flan.tasks.task import Task

def document(kind, name):
    return parse(kind, json.loads((Path(sys.argv[1]) / name).read_text()))

rows = {"mood": Rows(b'{"text": "x", "label": "pos"}', "kit", "")}
tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
parts = document(TuneSpec, "spec"), {"mood": document(Task, "task")}, rows, tokenizer, document(Contract, "contract")
stream = Stream.open(*parts, loaders=2)
stream.next_step()
print("ready", flush=True)
input()
"""


def test_no_process_outlives_a_killed_rank(tmp_path: Path) -> None:
    """kill -9 of the rank ends the feeder and its loaders. None of them needs torch or transformers."""
    documents = {"spec": SPEC, "task": TASKS["mood"], "contract": CONTRACTS["decoder"]}
    for name, document in documents.items():
        (tmp_path / name).write_text(document.canonical())
    (tmp_path / "tokenizer.json").write_text(serialised(TOKENIZER))
    command = [sys.executable, "-c", RANK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as rank:
        assert rank.stdout is not None and rank.stdout.readline() == b"ready\n"
        children = processes_of(rank.pid)
        loaded = {Path(each.path).name for child in children for each in child.memory_maps()}
        rank.kill()
    _, alive = psutil.wait_procs(children, ENDS_S)

    assert len(children) == 3
    assert not alive
    assert not any("torch" in name for name in loaded)


def test_a_closed_stream_leaves_nothing_behind() -> None:
    """No process, and no folder of the place where ranks join, even where one never did."""
    others = processes_of(os.getpid())
    with open_stream(ranks=2) as stream:
        address = Path(stream.address)
        children = processes_of(os.getpid(), others)
        assert children
        assert address.is_socket()
    _, alive = psutil.wait_procs(children, ENDS_S)

    assert not alive
    assert not address.parent.exists()


def test_a_signal_to_the_group_leaves_the_end_to_the_rank() -> None:
    """SIGTERM asks a rank to stop, which it may do with a checkpoint first: its stream goes on until it is closed."""
    others = processes_of(os.getpid())
    with open_stream(loaders=2) as stream:
        stream.next_step()
        for child in processes_of(os.getpid(), others):
            child.send_signal(signal.SIGTERM)
        for _ in range(10):
            stream.next_step()
