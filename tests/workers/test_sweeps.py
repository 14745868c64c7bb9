"""Sweeps in the ledger: children wait, are made ready, are reused, and their parent follows them."""

from collections.abc import Sequence
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

import migrations
from flan.spec import Pins, parse
from flan.sweep_spec import SweepSpec
from flan.sweeps import expand
from tests.workers.ledger_steps import NODE, queued, spec
from tests.workers.test_models import model
from workers.ledger import jobs, journal, leases, nodes, queue, sweeps
from workers.ledger.leases import Ending, Failure, Lease
from workers.ledger.states import ENDED
from workers.ledger.sweeps import NoChildren
from workers.ledger.tables import Job

Sessions = sessionmaker[Session]
TUNE = {"kind": "tune", "base": "preset:nano"}
MEASURE = {"kind": "evaluate", "model": "job:model", "tasks": ["*"]}
CHAIN = {"model": TUNE, "more": TUNE | {"base": "job:model"}, "tuned": MEASURE | {"model": "job:more"}}
THREE = [{"label": f"{k}", "set": {"/model/seed": k}} for k in range(3)]
BROKEN = Ending("fault", Failure(code="nan", blame="user", message="the loss is not finite"))


def handed_in(
    sessions: Sessions, jobs_: Any = CHAIN, settings: Sequence[Any] = (), **fields: Any
) -> tuple[str, list[str]]:
    """Ids of a sweep and of its children, in order; a node of four CPU slots is there."""
    axes = [{"name": "x", "settings": list(settings)}] if settings else []
    sweep = parse(SweepSpec, {"kind": "sweep", "name": "s", "jobs": jobs_, "axes": axes} | fields)
    expansion = expand(sweep)
    resolved = [
        (child, child.spec.model_copy(update={"pins": Pins(tasks={})})) for child in expansion.children
    ]
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
        parent = sweeps.submit(session, sweep, expansion.cells, resolved)
        return parent.id, [listed.job.id for listed in sweeps.children(session, parent.id)]


def claim(sessions: Sessions) -> Lease | None:
    """What a worker does in a round: bring sweeps up to date, claim."""
    sweeps.advance_all(sessions)
    with sessions.begin() as session:
        return leases.claim(session, NODE, "owner", lease_s=30)


def end(sessions: Sessions, lease: Lease, ending: Ending | None = None) -> None:
    """Give a lease back; done, with a model of the job's name, where no ending is given."""
    with sessions.begin() as session:
        name = jobs.get(session, lease.job_id).name
        made = Ending("done", models=[model(name, digest="abcdef"[hash(name) % 6])])
        leases.end(session, lease, ending or made, retry_base_s=1e-6)


def states(sessions: Sessions, *job_ids: str) -> list[str]:
    """How jobs stand."""
    sweeps.advance_all(sessions)
    with sessions.begin() as session:
        return [jobs.get(session, job_id).state for job_id in job_ids]


def carry_on(sessions: Sessions) -> list[str]:
    """Claim and end well until nothing is left to claim; what was claimed."""
    done = []
    while (lease := claim(sessions)) is not None:
        end(sessions, lease)
        done.append(lease.job_id)
    return done


def test_a_child_is_claimed_when_its_model_is_there_and_pinned(sessions: Sessions) -> None:
    """Each waits for the one before it; what it starts from is in its spec before anybody may claim it."""
    sweep_id, children = handed_in(sessions)
    first = claim(sessions)
    assert first is not None
    assert claim(sessions) is None  # the other two wait
    assert states(sessions, sweep_id) == ["running"]
    end(sessions, first)

    assert [first.job_id, *carry_on(sessions)] == children
    assert states(sessions, sweep_id, *children) == ["succeeded"] * 4
    with sessions.begin() as session:
        made = {job_id: jobs.get(session, job_id) for job_id in children}
        for job_id, needed in zip(children[1:], children, strict=False):
            assert made[job_id].spec["pins"]["model"] == made[needed].models[0]["digest"]
            told = [event.type for event in journal.events_after(session, job_id)]
            assert told.index("job.model_pinned") < told.index("job.started")
        seen = [
            (event.data["job"], event.data["state"])
            for event in journal.events_after(session, sweep_id)
            if event.type == "child.changed"
        ]
        assert [(job_id, "succeeded") for job_id in children] == [
            each for each in seen if each[1] == "succeeded"
        ]


def test_what_needs_a_failed_job_fails_with_it_and_both_can_be_tried_again(sessions: Sessions) -> None:
    """Down the whole chain, with a code of its own; the sweep says which was the first."""
    sweep_id, children = handed_in(sessions)
    lease = claim(sessions)
    assert lease is not None
    end(sessions, lease, BROKEN)

    assert states(sessions, sweep_id, *children) == ["failed"] * 4
    with sessions.begin() as session:
        codes = [(jobs.get(session, job_id).error or {})["code"] for job_id in [sweep_id, *children]]
        assert codes == ["children_failed", "nan", "need_failed", "need_failed"]
        assert "model-" in (jobs.get(session, sweep_id).error or {})["message"]
        sweeps.retry(session, sweep_id)
    assert carry_on(sessions) == children
    assert states(sessions, sweep_id) == ["succeeded"]


def test_a_sweep_goes_on_after_a_failure_or_stops(sessions: Sessions) -> None:
    """continue: the others run. stop: what was not begun fails, what runs comes to its end."""
    for on_failure, wanted in (("continue", "succeeded"), ("stop", "failed")):
        with sessions.begin() as session:
            session.execute(text("UPDATE jobs SET content_digest = NULL"))  # nothing to be reused
        sweep_id, children = handed_in(
            sessions, {"model": TUNE}, THREE, on_failure=on_failure, max_parallel=2
        )
        first, second = claim(sessions), claim(sessions)
        assert first is not None
        assert second is not None
        end(sessions, first, BROKEN)
        sweeps.advance_all(sessions)
        end(sessions, second)
        carry_on(sessions)

        by_id = dict(zip(children, states(sessions, *children), strict=True))
        assert by_id.pop(first.job_id) == "failed"
        assert by_id.pop(second.job_id) == "succeeded"
        assert list(by_id.values()) == [wanted]
        assert states(sessions, sweep_id) == ["failed"]


def test_no_more_of_a_sweep_run_than_may_and_a_waiting_one_says_so(sessions: Sessions) -> None:
    """Other jobs pass it; when one has ended the next is claimed."""
    _, children = handed_in(sessions, {"model": TUNE}, THREE, max_parallel=1)
    other = queued(sessions)
    first, second = claim(sessions), claim(sessions)

    assert first is not None
    assert second is not None
    assert first.job_id in children
    assert second.job_id == other
    assert claim(sessions) is None
    with sessions.begin() as session:
        waiting = [jobs.get(session, job_id) for job_id in children if job_id != first.job_id]
        found = queue.turns(session, waiting)
    said = "its sweep runs 1 jobs at a time (max_parallel)"
    assert [found[job.id] for job in waiting] == [queue.Turn(0, said), queue.Turn(1, said)]
    end(sessions, first)
    assert claim(sessions) is not None


def test_two_nodes_that_claim_at_once_do_not_pass_the_bound(sessions: Sessions) -> None:
    """Nor does either wait for the other."""
    handed_in(sessions, {"model": TUNE}, THREE, max_parallel=1)
    sweeps.advance_all(sessions)
    with sessions.begin() as session:
        nodes.report(session, "node-b", cpu_slots=4, gpus=[])
    first, second = sessions(), sessions()
    second.execute(text("SET lock_timeout = '2s'"))

    assert leases.claim(first, NODE, "a", lease_s=30) is not None
    assert leases.claim(second, "node-b", "b", lease_s=30) is None
    first.commit()
    assert leases.claim(second, "node-b", "b", lease_s=30) is None
    first.close()
    second.close()


def test_the_same_work_is_done_once(sessions: Sessions) -> None:
    """Children of equal resolved content are one job: of another sweep, running or done, or handed in by itself."""
    plain = spec(name="mine", device="auto").model_copy(update={"pins": Pins(tasks={})})
    with sessions.begin() as session:
        alone = jobs.submit(session, plain).id
    one, children = handed_in(sessions)
    two, same = handed_in(sessions, max_parallel=2)

    assert children[0] == alone
    assert same == children
    assert carry_on(sessions) == children
    assert states(sessions, one, two) == ["succeeded"] * 2
    three, again = handed_in(sessions)
    assert again == children
    assert states(sessions, three) == ["succeeded"]
    with sessions.begin() as session:
        assert [listed.is_own for listed in sweeps.children(session, one)] == [False, True, True]
        assert len(jobs.page(session)) == 3 + 3


def test_failed_work_and_other_work_are_not_taken_for_the_same(sessions: Sessions) -> None:
    """A job that failed is not what was asked for, nor is one on other rows."""
    _, children = handed_in(sessions, {"model": TUNE})
    lease = claim(sessions)
    assert lease is not None
    end(sessions, lease, BROKEN)
    _, again = handed_in(sessions, {"model": TUNE})

    assert again != children


def test_cancelling_takes_the_children_along_but_for_those_that_others_wait_for(sessions: Sessions) -> None:
    """The sweep is cancelled once what it began is gone."""
    one, children = handed_in(sessions, {"model": TUNE}, THREE)
    two, shared = handed_in(sessions, {"model": TUNE}, THREE[:1])
    lease = claim(sessions)
    assert lease is not None
    second = claim(sessions)
    assert second is not None
    with sessions.begin() as session:
        sweeps.cancel(session, one)
    assert states(sessions, one) == ["running"]

    mine = second if lease.job_id in shared else lease
    theirs = lease if lease.job_id in shared else second
    assert theirs.job_id == shared[0]
    with sessions.begin() as session:
        assert [jobs.get(session, each.job_id).wish for each in (mine, theirs)] == ["cancel", "run"]
    end(sessions, mine, Ending("stopped"))
    assert states(sessions, one) == ["cancelled"]
    end(sessions, theirs)
    assert states(sessions, two, shared[0]) == ["succeeded"] * 2
    assert states(sessions, *(job_id for job_id in children if job_id not in shared)) == ["cancelled"] * 2


def test_a_sweep_rests_and_goes_on_with_its_children(sessions: Sessions) -> None:
    """Nothing is claimed in between; a sweep that waits for the last checkpoint is still pausing."""
    sweep_id, children = handed_in(sessions)
    lease = claim(sessions)
    assert lease is not None
    with sessions.begin() as session:
        sweeps.pause(session, sweep_id)
    assert states(sessions, sweep_id) == ["running"]
    end(sessions, lease, Ending("stopped"))

    assert states(sessions, sweep_id, *children) == ["paused"] * 4
    assert claim(sessions) is None
    with sessions.begin() as session:
        sweeps.resume(session, sweep_id)
    assert carry_on(sessions) == children
    assert states(sessions, sweep_id) == ["succeeded"]


def test_a_sweep_is_entered_whole_or_not_at_all(sessions: Sessions) -> None:
    """What dies before its commit leaves neither parent nor child."""

    class Died(Exception):
        pass

    with pytest.raises(Died), sessions.begin() as session:
        sweep = parse(SweepSpec, {"kind": "sweep", "name": "s", "jobs": CHAIN})
        expansion = expand(sweep)
        sweeps.submit(session, sweep, expansion.cells, [(child, child.spec) for child in expansion.children])
        raise Died

    with sessions.begin() as session:
        assert session.scalars(select(Job)).all() == []


def test_cells_are_read_back_as_they_were(sessions: Sessions) -> None:
    """Whatever the code that expands becomes, a sweep keeps its cells."""
    sweep = parse(
        SweepSpec, {"kind": "sweep", "name": "s", "jobs": CHAIN, "axes": [{"name": "x", "settings": THREE}]}
    )
    sweep_id, _ = handed_in(sessions, CHAIN, THREE)

    with sessions.begin() as session:
        assert sweeps.cells(sweeps.children(session, sweep_id)) == list(expand(sweep).cells)
        alone = jobs.submit(session, spec()).id
        with pytest.raises(NoChildren):
            sweeps.children(session, alone)


def test_a_downgrade_ends_what_the_older_code_does_not_know(database_url: str, sessions: Sessions) -> None:
    """A sweep and what waits for a model are cancelled; what runs by itself goes on; and up again."""
    sweep_id, (first, *rest) = handed_in(sessions)
    lease = claim(sessions)
    assert lease is not None
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    config.attributes["database_url"] = database_url
    command.downgrade(config, "0003")
    migrations.upgrade(database_url)

    with sessions.begin() as session:
        assert [jobs.get(session, each).state for each in (sweep_id, *rest)] == ["cancelled"] * 3
        assert jobs.get(session, first).state == "running"


ACTIONS = ("claim", "done", "fault", "stopped", "cancel", "pause", "resume", "retry", "advance", "child")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ACTIONS), max_size=12), st.sampled_from(["continue", "stop"]))
def test_any_history_of_a_sweep_comes_to_one_end(
    sessions: Sessions, actions: list[str], on_failure: str
) -> None:
    """Whatever is done in whatever order, parent and children end together, and no child ran without its model."""
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET content_digest = NULL"))
    sweep_id, children = handed_in(sessions, on_failure=on_failure)
    held: list[Lease] = []
    for action in actions:
        try:
            _act(sessions, action, sweep_id, children, held)
        except (jobs.WrongState, leases.LeaseLost):
            continue
    for _ in range(2):  # resumed, and seen to its end
        for job_id in (sweep_id, *children):
            with sessions.begin() as session:
                if (
                    jobs.get(session, job_id).state not in ENDED
                    and jobs.get(session, job_id).wish != "cancel"
                ):
                    sweeps.resume(session, job_id)
        while held:
            _give_back(sessions, held.pop())
        carry_on(sessions)

    parent, *rest = states(sessions, sweep_id, *children)
    assert {parent, *rest} <= ENDED
    assert (parent == "succeeded") == (set(rest) == {"succeeded"})
    with sessions.begin() as session:
        for job_id in children[1:]:
            job = jobs.get(session, job_id)
            assert job.attempt == 0 or job.spec["pins"]["model"] is not None


def _act(sessions: Sessions, action: str, sweep_id: str, children: list[str], held: list[Lease]) -> None:
    if action == "claim":
        held += [lease] if (lease := claim(sessions)) else []
    elif action == "advance":
        sweeps.advance_all(sessions)
    elif action in ("done", "fault", "stopped"):
        endings = {"done": None, "fault": BROKEN, "stopped": Ending("stopped")}
        if held:
            end(sessions, held.pop(), endings[action])
    else:
        with sessions.begin() as session:
            verb = "cancel" if action == "child" else action
            getattr(sweeps, verb)(session, children[1] if action == "child" else sweep_id)


def _give_back(sessions: Sessions, lease: Lease) -> None:
    try:
        end(sessions, lease)
    except leases.LeaseLost:
        return
