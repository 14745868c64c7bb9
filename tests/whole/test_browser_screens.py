"""Every screen of the dashboard, on a platform that has seen use."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from api.client import Client
from api.demo_data import demo_data
from docs.screens import LOOKS, places
from tests.kit.browser import Visitor, running_browser
from tests.kit.platform import Platform, running_platform

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def used() -> Iterator[Platform]:
    """A platform of its own: the jobs of others would be on its screens too."""
    with running_platform(FLAN_CANCEL_GRACE_S="15") as platform:
        yield platform


@pytest.fixture(scope="module")
def filled(used: Platform) -> Platform:
    """`flan demo-data` has been there."""
    client = Client(used.url, (used.home / "key").read_text().strip())
    demo_data(client, steps=12)
    client.close()
    return used


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of the file."""
    with running_browser() as running:
        yield running


def test_demo_data_leaves_jobs_of_every_kind_in_every_state(filled: Platform) -> None:
    """And what people hand in besides: sets in versions, datasets, aliases, results."""
    jobs = filled.get("/jobs", limit=100)["data"]
    failed = next(job for job in jobs if job["name"] == "too-hot")

    assert {job["kind"] for job in jobs} == {"tune", "evaluate", "serve", "sweep"}
    assert {job["state"] for job in jobs} == {
        "queued",
        "running",
        "paused",
        "succeeded",
        "failed",
        "cancelled",
    }
    assert (failed["error"]["code"], failed["error"]["blame"]) == ("loss_nan", "user")
    assert failed["error"]["hint"]
    versions = {(each["name"], each["version"]) for each in filled.get("/template-sets", limit=100)["data"]}
    assert {("dinners", 2), ("plain-reviews", 2)} <= versions
    assert {each["alias"] for each in filled.get("/models/helper/aliases")["data"]} == {"champion", "default"}


@pytest.mark.parametrize("look", LOOKS)
def test_every_screen_is_clean_for_axe(browser: Browser, filled: Platform, look: str) -> None:
    """Names, roles, contrast, in light, in dark, on a phone; nothing is wider than the page or complained of."""
    visitor = Visitor(browser, filled.url, filled.home, **LOOKS[look])
    visitor.page.goto(filled.url)
    expect(visitor.page.get_by_label("API key")).to_be_visible()
    faults = visitor.faults()
    visitor.sign_in()
    for place in places(filled.url, filled.home).values():
        visitor.go(place)
        faults += visitor.faults()
        wide = visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        faults += [f"{place}: {wide} px wider than the page"] if wide > 0 else []
    complaints = visitor.complaints
    visitor.close()

    assert (faults, complaints) == ([], [])
