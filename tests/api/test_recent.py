"""What the ledger has just said counts for a second, and no longer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.catalog import keys
from api.recent import LASTS_S, Recent
from api.settings import Settings
from flan.errors import NotFound
from tests.api.conftest import make_key
from tests.api.live import listening
from tests.api.world import serving
from tests.serve.lively import lively_model
from workers.ledger import models
from workers.ledger.models import NewModel


class Ledger:
    """Something that can be asked, and changes."""

    def __init__(self) -> None:
        self.value, self.num_asked = 0, 0

    def look(self) -> int:
        """The value now. Raises NotFound where there is none."""
        self.num_asked += 1
        if self.value < 0:
            raise NotFound("nothing")
        return self.value


def _with(story: Callable[[Recent, Ledger, list[float]], Awaitable[None]]) -> None:
    now = [100.0]

    async def told() -> None:
        await story(Recent(clock=lambda: now[0]), Ledger(), now)

    asyncio.run(told())


def test_an_answer_counts_for_a_second() -> None:
    """Within it nobody is asked again; after it what has changed is seen."""

    async def story(recent: Recent, ledger: Ledger, now: list[float]) -> None:
        assert await recent.recall("a", ledger.look) == 0
        ledger.value = 1
        now[0] += LASTS_S
        assert (await recent.recall("a", ledger.look), ledger.num_asked) == (0, 1)
        assert await recent.recall("b", ledger.look) == 1
        now[0] += 0.001
        assert await recent.recall("a", ledger.look) == 1

    _with(story)


def test_what_is_forgotten_is_asked_again() -> None:
    """At once, also while somebody still waits for what was asked before."""

    async def story(recent: Recent, ledger: Ledger, _now: list[float]) -> None:
        waiting = asyncio.ensure_future(recent.recall("a", ledger.look))
        await asyncio.sleep(0)
        recent.forget()
        ledger.value = 1
        assert await recent.recall("a", ledger.look) == 1
        await waiting
        assert (await recent.recall("a", ledger.look), ledger.num_asked) == (1, 2)

    _with(story)


def test_a_refusal_is_not_kept() -> None:
    """A key that is made, or a model that begins to answer, is known at once."""

    async def story(recent: Recent, ledger: Ledger, _now: list[float]) -> None:
        ledger.value = -1
        with pytest.raises(NotFound):
            await recent.recall("a", ledger.look)
        ledger.value = 2
        assert await recent.recall("a", ledger.look) == 2

    _with(story)


def test_all_who_ask_at_once_ask_once() -> None:
    """And one of them that goes away takes nothing from the others."""

    async def story(recent: Recent, ledger: Ledger, _now: list[float]) -> None:
        asking = [asyncio.ensure_future(recent.recall("a", ledger.look)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()
        assert await asyncio.gather(*asking[1:]) == [0] * 4
        assert ledger.num_asked == 1

    _with(story)


@pytest.fixture
def two(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[list[Any]]:
    """Two API processes' worth of applications on one ledger, whose clocks stand still: (client, clock) of each."""
    here = settings.model_copy(update={"allowed_hosts": ("127.0.0.1",)})
    headers = {"Authorization": f"Bearer {make_key(sessions, ['admin'])}"}
    clocks = [[100.0], [100.0]]
    apps = [create_app(here) for _ in clocks]
    for app, clock in zip(apps, clocks, strict=True):
        app.state.platform.recent.clock = partial(clock.__getitem__, 0)
    with (
        listening(apps[0]) as one,
        listening(apps[1]) as other,
        httpx.Client(base_url=one, headers=headers, timeout=60) as first,
        httpx.Client(base_url=other, headers=headers, timeout=60) as second,
    ):
        yield [(first, clocks[0]), (second, clocks[1])]


def test_a_revoked_key_is_refused_at_once_where_it_was_revoked_and_within_a_second_elsewhere(
    two: list[Any], sessions: sessionmaker[Session]
) -> None:
    """The bound holds for looking as for asking."""
    (here, _), (elsewhere, clock) = two
    guest = make_key(sessions, ["jobs:read"])
    bearer = {"Authorization": f"Bearer {guest}"}

    def statuses() -> list[int]:
        return [client.get("/jobs", headers=bearer).status_code for client in (here, elsewhere)]

    assert statuses() == [200, 200]
    here.delete(f"/keys/{guest.split('_')[1]}").raise_for_status()
    assert statuses() == [401, 200]
    clock[0] += LASTS_S + 0.001
    assert statuses() == [401, 401]


def test_keys_are_looked_up_once_a_second(two: list[Any], sessions: sessionmaker[Session]) -> None:
    """Whatever is changed behind our back meanwhile is seen after it."""
    (here, clock), _ = two
    guest = make_key(sessions, ["jobs:read"])
    bearer = {"Authorization": f"Bearer {guest}"}
    assert here.get("/jobs", headers=bearer).status_code == 200
    with sessions.begin() as session:
        keys.revoke(session, guest.split("_")[1])
    assert here.get("/jobs", headers=bearer).status_code == 200
    clock[0] += LASTS_S + 0.001
    assert here.get("/jobs", headers=bearer).status_code == 401


def test_what_is_changed_here_is_known_here_at_once_and_elsewhere_within_a_second(
    two: list[Any], sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """An alias that moves to a model that is not served, and one that is undeployed."""
    (here, _), (elsewhere, clock) = two
    question = {"prompt": "hi", "model": "movies@live", "max_new_tokens": 1}

    def statuses() -> list[int]:
        return [client.post("/generate", json=question).status_code for client in (here, elsewhere)]

    with serving(sessions, tmp_path):
        with sessions.begin() as session:
            models.put_alias(session, "movies", "live", 1)
            models.register(session, NewModel("movies", "tuned", "7" * 64, lively_model().card))
            [served] = models.all_served(session)
        assert statuses() == [200, 200]
        alias = "/models/movies/aliases/live"
        here.put(alias, json={"version": 2}, headers={"If-Match": "*"}).raise_for_status()
        assert statuses() == [404, 200]
        clock[0] += LASTS_S + 0.001
        assert statuses() == [404, 404]
        here.put(alias, json={"version": 1}, headers={"If-Match": "*"}).raise_for_status()
        assert statuses() == [200, 200]  # refusals are not kept
        here.post(f"/jobs/{served.job_id}/cancel").raise_for_status()
        assert statuses() == [404, 200]
        clock[0] += LASTS_S + 0.001
        assert statuses() == [404, 404]
