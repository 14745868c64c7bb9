"""The dashboard in a real browser: what people do with it every day, on a platform that runs real jobs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.kit.browser import Visitor, running_browser
from tests.kit.platform import Platform
from tests.kit.real_trainer import TUNE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
STEPS = 24
SPEC = TUNE | {"name": "watched", "steps": STEPS, "checkpoint_every": STEPS, "resources": {"device": "cpu"}}
ENDLESS = SPEC | {"name": "endless", "steps": 100_000, "checkpoint_every": 100_000}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of the file."""
    with running_browser() as running:
        yield running


@pytest.fixture
def visitor(browser: Browser, platform: Platform) -> Iterator[Visitor]:
    """Somebody who has signed in; in the end, nothing was complained of."""
    visiting = Visitor(browser, platform.url, platform.home)
    visiting.sign_in()
    yield visiting
    visiting.close()
    assert visiting.complaints == []


def hand_in(visitor: Visitor, spec: dict[str, Any]) -> str:
    """Write a spec as YAML (JSON is YAML), see what it would do, hand it in; the id of its job."""
    page = visitor.page
    visitor.go("/new-job")
    page.get_by_role("tab", name="YAML").click()
    page.get_by_label("Spec as YAML").fill(json.dumps(spec))
    page.get_by_role("tab", name="Form").click()
    expect(page.get_by_role("textbox", name="name", exact=True)).to_have_value(spec["name"])
    expect(page.locator("[data-plan][aria-busy=false]")).to_contain_text(f"{spec['steps']:,}")
    page.get_by_role("button", name="Hand it in").click()
    visitor.sees(spec["name"])
    return page.url.rpartition("/")[2].partition("?")[0]


def is_in_state(visitor: Visitor, state: str) -> None:
    """See the job of the page so."""
    expect(visitor.page.locator(f"main [data-state={state}]").first).to_be_visible()


def test_a_job_is_launched_watched_to_its_end_and_its_model_asked(
    browser: Browser, platform: Platform
) -> None:
    """Nobody reloads anything: figures, states and the served model come by themselves; axe finds no fault."""
    visitor = Visitor(browser, platform.url, platform.home)
    page = visitor.page
    page.goto(visitor.url)
    expect(page.get_by_label("API key")).to_be_visible()
    faults = visitor.faults()
    visitor.sign_in()
    page.evaluate("window.isTheSamePage = true")
    faults += visitor.faults()
    hand_in(visitor, SPEC)
    expect(page.locator("[data-connection=live]")).to_be_visible()
    is_in_state(visitor, "succeeded")
    expect(page.get_by_text(f"{STEPS} of {STEPS} steps")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(rf"^Loss\. Loss: {STEPS} points"))).to_be_visible()
    faults += visitor.faults()

    page.get_by_role("button", name="Use the model").click()
    page.get_by_role("menuitem", name=re.compile(r"^Serve watched@\d+$")).click()
    visitor.sees("New job")
    expect(page.locator("[data-plan][aria-busy=false]")).to_be_visible()
    faults += visitor.faults()
    page.get_by_role("button", name="Hand it in").click()
    visitor.sees("watched")
    is_in_state(visitor, "running")
    served = page.url.rpartition("/")[2]
    visitor.go("/playground?model=watched")
    page.get_by_label("Instruction").fill("Is the sky blue?")
    page.get_by_role("button", name="Choose", exact=True).click()
    for option in ("yes", "no"):
        expect(page.locator(f"[data-option={option}]")).to_contain_text("%")
    expect(page.get_by_text("with a probability of")).to_be_visible()
    faults += visitor.faults()
    visitor.go(f"/jobs/{served}")
    page.get_by_role("button", name="Undeploy").click()
    page.get_by_role("dialog").get_by_role("button", name="Undeploy").click()
    is_in_state(visitor, "cancelled")

    assert page.evaluate("window.isTheSamePage") is True
    visitor.close()
    assert (faults, visitor.complaints) == ([], [])


def test_a_running_job_is_cancelled_from_the_page(visitor: Visitor) -> None:
    """It asks first, says what that does, and shows when it is done; the list of jobs says the same."""
    hand_in(visitor, ENDLESS)
    is_in_state(visitor, "running")
    visitor.page.get_by_role("button", name="cancel", exact=True).click()
    expect(visitor.page.get_by_role("dialog")).to_contain_text("stopped for good")
    visitor.page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    is_in_state(visitor, "cancelled")

    visitor.go("/jobs?name=endless&state=cancelled")
    expect(visitor.page.get_by_role("row").filter(has_text="endless").first).to_contain_text("cancelled")


def test_no_script_runs_but_those_of_the_build(browser: Browser, platform: Platform) -> None:
    """The policy holds in the browser: neither an inline script nor one of a data: address is run."""
    visitor = Visitor(browser, platform.url, platform.home)
    page = visitor.page
    answer = page.goto(visitor.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    hurt = page.evaluate(
        """async () => {
            for (const set of [script => { script.textContent = 'window.hurt = 1' },
                               script => { script.src = 'data:text/javascript,window.hurt=1' }]) {
                const script = document.createElement('script');
                set(script);
                document.head.append(script);
            }
            await new Promise(then => setTimeout(then, 0));
            return 'hurt' in window;
        }"""
    )

    assert hurt is False
    assert "script-src 'self';" in policy
    assert page.locator("script:not([src])").count() == 1  # the one put there above
    assert len([each for each in visitor.complaints if "Content Security Policy" in each]) == 2
    visitor.close()
