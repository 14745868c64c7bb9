"""The dashboard in a real browser: what people do with it every day, on a platform that runs real jobs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.kit.browser import Visitor, running_browser
from tests.kit.platform import Platform
from tests.kit.real_trainer import TUNE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
STEPS = 24
SPEC = TUNE | {"name": "watched", "steps": STEPS, "checkpoint_every": STEPS, "resources": {"device": "cpu"}}
TOLD = 4_000
"""Lines of a log at a time: more than one answer of the API holds."""
SET = """name: seen-in-a-browser
extends: shop_reviews
templates:
  - input: |-
      {review}
      How did the shopper feel?
      {options_}
"""
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

    visitor.go("/jobs?find=endless&state=cancelled")
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


def test_signing_out_ends_the_session_on_every_page(browser: Browser, platform: Platform) -> None:
    """The browser never kept the key; what was shown is gone, here and on another page, and the API refuses both."""
    visitor = Visitor(browser, platform.url, platform.home)
    visitor.sign_in()
    page = visitor.page
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    visitor.go("/settings")
    expect(page.get_by_role("button", name="New key")).to_be_visible()
    other = visitor.tab()
    other.goto(f"{visitor.url}/#/jobs")
    expect(other.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    copied = {each.get("name", ""): each.get("value", "") for each in page.context.cookies()}
    assert httpx.get(f"{visitor.url}/jobs", cookies=copied).status_code == 200
    page.get_by_role("button", name="Signed in with").click()
    page.get_by_role("menuitem", name="Sign out").click()

    for each in (page, other):
        expect(each.get_by_label("API key")).to_be_visible()
        assert each.evaluate("fetch('jobs').then(answer => answer.status)") == 401
        assert each.get_by_role("heading").all_inner_texts() == ["Sign in to FLAN"]
    page.get_by_label("API key").fill("flan_000000000000_" + 64 * "0")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    assert "flan_" not in kept
    assert httpx.get(f"{visitor.url}/jobs", cookies=copied).status_code == 401
    visitor.close()


def test_a_template_set_is_written_rendered_linted_and_handed_in(visitor: Visitor, tmp_path: Path) -> None:
    """From a file: on real rows and with its faults as it is written; then a version, and what the next changes."""
    page = visitor.page
    path = tmp_path / "set.yaml"
    path.write_text(SET)
    visitor.go("/template-editor")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a file").click()
    chooser.value.set_files(path)
    written = page.get_by_label("Template set as YAML")
    expect(written).to_have_value(SET)
    expect(page.get_by_label("What the model reads").first).to_contain_text("How did the shopper feel?")
    written.fill(SET.replace("the shopper", "the the shopper"))
    expect(page.get_by_text("the same word twice")).to_be_visible()
    written.fill(SET)
    expect(page.get_by_text("the same word twice")).to_have_count(0)
    page.get_by_role("button", name="Upload").click()
    visitor.sees("seen-in-a-browser")
    expect(page.get_by_label("What the model reads")).to_contain_text("How did the shopper feel?")

    page.get_by_role("link", name="Edit").click()
    written.fill(SET.replace("feel", "fare"))
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_label("What the model reads")).to_contain_text("fare")
    page.get_by_role("tab", name="Versions").click()
    expect(page.locator(".diff-added")).to_contain_text("How did the shopper fare?")


@pytest.mark.slow
def test_a_page_outlives_the_api_without_a_gap(browser: Browser, platform: Platform) -> None:
    """It says that the connection is lost and comes back by itself: every step, event and line is there once."""
    steps = 200
    job_id = platform.submit(SPEC | {"name": "outlived", "steps": steps, "checkpoint_every": 100})
    platform.until_job(job_id, lambda job: job["state"] == "running", "to run")
    log = platform.home / "runs" / job_id / "attempt-1" / "logs" / "rank-0.log"
    visitor = Visitor(browser, platform.url, platform.home)
    visitor.sign_in()
    page, logs = visitor.page, visitor.tab()
    visitor.go(f"/jobs/{job_id}")
    expect(page.get_by_role("img", name=re.compile(r"^Loss\. Loss: \d+ points"))).to_be_visible()
    _tell(log, 0)
    logs.goto(f"{visitor.url}/#/jobs/{job_id}?tab=logs&find=told")
    for each in (page, logs):
        each.evaluate("window.isTheSamePage = true")
    expect(logs.get_by_text(re.compile(rf"^{TOLD:,} of"))).to_be_visible()
    platform.kill("api")
    for each in (page, logs):
        each.bring_to_front()
        expect(each.locator("[data-connection=waiting]")).to_be_visible()
    _tell(log, 1)
    platform.until_ready()
    for each in (page, logs):
        each.bring_to_front()
        expect(each.locator("[data-connection=live]")).to_be_visible()
    _tell(log, 2)
    expect(logs.get_by_text(re.compile(rf"^{3 * TOLD:,} of"))).to_be_visible()
    page.bring_to_front()
    is_in_state(visitor, "succeeded")

    expect(page.get_by_role("img", name=re.compile(rf"^Loss\. Loss: {steps} points"))).to_be_visible()
    page.get_by_role("tab", name="Timeline").click()
    params = {"limit": 999, "without": ["metrics", "progress"]}
    events = platform.http.get(f"/jobs/{job_id}/events", params=params).json()["data"]
    expect(page.get_by_label("Events, newest first").get_by_role("listitem")).to_have_count(len(events))
    assert [each.evaluate("window.isTheSamePage") for each in (page, logs)] == [True, True]
    # That the API was away, the browser says itself.
    assert [each for each in visitor.complaints if "net::ERR_" not in each and " 503 " not in each] == []
    visitor.close()


def _tell(log: Path, part: int) -> None:
    """As a rank would: lines that no other part has."""
    with log.open("a") as lines:
        lines.writelines(f"told {number}\n" for number in range(part * TOLD, (part + 1) * TOLD))
