"""Models by name, version and alias, and where they are served."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from flan.card import Contract, Lineage, ModelCard
from flan.rundir import Event
from flan.spec import Pins, ServeSpec
from tests.workers.ledger_steps import claimed, queued
from workers.ledger import jobs, journal, leases, models
from workers.ledger.leases import Ending
from workers.ledger.models import AliasMoved, BadAlias, ModelNotFound, NewModel

Sessions = sessionmaker[Session]


def model(name: str = "m", digest: str = "a") -> NewModel:
    """A model whose weights are in the store."""
    contract = Contract(
        architecture="decoder", tokenizer="0" * 64, prefix_ids=(), separator_ids=(1,), end_ids=(2,)
    )
    lineage = Lineage(base="preset:nano", tasks_seen=("t",), clusters_seen=("c",))
    card = ModelCard(name=name, contract=contract, context_length=8, num_parameters=1, lineage=lineage)
    return NewModel(name, "tuned", digest * 64, card)


def registered(sessions: Sessions, *made: NewModel) -> None:
    """Models that are in the registry."""
    with sessions.begin() as session:
        for one in made:
            models.register(session, one)


def served(sessions: Sessions, name: str, digest: str, url: str) -> str:
    """Id of a serve job that answers."""
    spec = ServeSpec(name=name, model="m", pins=Pins(tasks={}, model=digest * 64))
    queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        leases.end(session, lease, Ending("done"), retry_base_s=1)
        job_id = jobs.submit(session, spec).id
    lease = claimed(sessions)
    assert lease.job_id == job_id
    with sessions.begin() as session:
        leases.set_out(session, lease, run_directory=f"/runs/{name}", resumed_from=None)
        ready = Event(line=1, at=0.0, type="serve.ready", data={"url": url})
        journal.append(session, lease, [ready], lease_s=30)
    return job_id


def test_versions_count_up_and_same_bytes_are_the_same_version(sessions: Sessions) -> None:
    """A base that every run writes anew does not become a new version each time."""
    registered(sessions, model(digest="a"), model(digest="b"), model(digest="a"), model("other", "a"))

    with sessions.begin() as session:
        assert [(v.version, v.digest[0]) for v in models.versions(session, "m")] == [(2, "b"), (1, "a")]
        assert models.find(session, "m").version == 2
        assert models.find(session, "m@1").digest[0] == "a"
        assert models.card_of(models.find(session, "m@1")) == model().card
        assert [v.name for v in models.page(session, limit=1)] == ["m"]
        assert [v.name for v in models.page(session, after="m")] == ["other"]


def test_a_job_names_what_it_made_also_what_was_there(sessions: Sessions) -> None:
    """The second job to write the same bytes made the first one's version."""
    registered(sessions, model("older", digest="b"))
    said = []
    for _ in range(2):
        job_id = queued(sessions)
        lease = claimed(sessions)
        with sessions.begin() as session:
            leases.end(session, lease, Ending("done", models=(model(digest="a"),)), retry_base_s=1)
        with sessions.begin() as session:
            said.append(jobs.get(session, job_id).models)

    assert said == [[{"name": "m", "version": 1, "role": "tuned", "digest": "a" * 64}]] * 2


@pytest.mark.parametrize("reference", ["none", "m@9", "m@nowhere", ""])
def test_unknown_reference_is_not_found(sessions: Sessions, reference: str) -> None:
    """No guess: a reference means one version or none."""
    registered(sessions, model())

    with sessions.begin() as session, pytest.raises(ModelNotFound):
        models.find(session, reference)


def test_alias_moves_only_from_where_it_was_believed(sessions: Sessions) -> None:
    """Two people who promote a model at once: the second is told, not obeyed."""
    registered(sessions, model(digest="a"), model(digest="b"))
    with sessions.begin() as session:
        models.put_alias(session, "m", "best", 1, expected=None)
    with sessions.begin() as session:
        models.put_alias(session, "m", "best", 2, expected=1)

    with sessions.begin() as session, pytest.raises(AliasMoved, match="points at 2, not at 1"):
        models.put_alias(session, "m", "best", 1, expected=1)
    with sessions.begin() as session:
        assert models.find(session, "m@best").version == 2
        assert models.aliases(session, "m") == {"best": 2}
        models.drop_alias(session, "m", "best")
        assert models.aliases(session, "m") == {}


def test_alias_is_no_number_and_points_at_something(sessions: Sessions) -> None:
    """`m@3` is the third version, always."""
    registered(sessions, model())

    with sessions.begin() as session, pytest.raises(BadAlias):
        models.put_alias(session, "m", "3", 1)
    with sessions.begin() as session, pytest.raises(ModelNotFound):
        models.put_alias(session, "m", "best", 7)


def test_served_model_is_found_by_deployment_model_or_alias(sessions: Sessions) -> None:
    """A request goes where it names; one that cannot learns what there is."""
    registered(sessions, model(digest="a"), model(digest="b"))
    with sessions.begin() as session:
        models.put_alias(session, "m", "best", 2)
    first = served(sessions, "live", "a", "http://one")

    with sessions.begin() as session:
        assert [each.job_id for each in models.find_served(session, "live")] == [first]
        (found,) = models.find_served(session, "m@1")
        assert (found.url, str(found.token_path)) == ("http://one", "/runs/live/token")
        with pytest.raises(ModelNotFound, match="is not served") as caught:
            models.find_served(session, "m@best")
        assert caught.value.values["served"] == ["live"]
        with pytest.raises(ModelNotFound, match="is unknown"):
            models.find_served(session, "nobody")


def test_default_model_is_the_only_one_or_the_one_marked(sessions: Sessions) -> None:
    """A request that names no model is answered only where there is no doubt."""
    registered(sessions, model(digest="a"), model(digest="b"))
    with sessions.begin() as session:
        assert models.find_default_served(session) == []
    served(sessions, "one", "a", "http://one")
    with sessions.begin() as session:
        (default,) = models.find_default_served(session)
        assert default.name == "one"
    served(sessions, "two", "b", "http://two")
    with sessions.begin() as session:
        assert models.find_default_served(session) == []
        models.put_alias(session, "m", "default", 2)
        (default,) = models.find_default_served(session)
        assert default.name == "two"


def test_replicas_share_a_name_and_the_weights_of_the_newest(sessions: Sessions) -> None:
    """A deployment of other weights under the name takes it over; one that is told to stop gets nothing more."""
    registered(sessions, model(digest="a"), model(digest="b"))
    first = served(sessions, "live", "a", "http://one")
    served(sessions, "live", "a", "http://two")

    def urls(reference: str) -> list[str]:
        with sessions.begin() as session:
            return [each.url for each in models.find_served(session, reference)]

    with sessions.begin() as session:
        assert len(models.find_default_served(session)) == 2
    assert urls("live") == urls("m@1") == ["http://one", "http://two"]
    served(sessions, "live", "b", "http://three")
    assert urls("live") == ["http://three"]
    assert urls("m@1") == ["http://one", "http://two"]
    with sessions.begin() as session:
        jobs.cancel(session, first)
    assert urls("m@1") == ["http://two"]


def test_stopped_deployment_is_no_longer_found(sessions: Sessions) -> None:
    """The address goes with the lease."""
    job_id = served(sessions, "live", "a", "http://one")
    with sessions.begin() as session:
        fence = jobs.get(session, job_id).fence
        jobs.cancel(session, job_id)
        assert (
            leases.end(session, leases.Lease(job_id, fence, 1), Ending("stopped"), retry_base_s=1)
            == "cancelled"
        )

    with sessions.begin() as session:
        assert models.all_served(session) == []
