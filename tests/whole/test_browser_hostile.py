"""Eighty scripts wherever people, rows, models and ranks can write: the dashboard shows each as text and runs none."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from tests.kit.browser import Visitor, running_browser
from tests.kit.platform import Platform, running_platform
from tests.kit.real_trainer import TUNE
from workers.ledger.jobs import lock
from workers.ledger.record import record
from workers.ledger.tables import Metric

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]
_SCRIPTS = (
    "<script>{}</script>",
    "<img src=x onerror={}>",
    "<svg/onload={}>",
    "<body onload={}>",
    "<iframe srcdoc='<script>parent.{}</script>'>",
    "<a href='javascript:{}'>x</a>",
    "<details open ontoggle={}>",
    "<input autofocus onfocus={}>",
    "<math><mi xlink:href='javascript:{}'>x",
    "<style>@import 'javascript:{}'</style>",
    "<template><script>{}</script></template>",
    "<object data='javascript:{}'>",
    "<embed src='javascript:{}'>",
    "<video><source onerror={}>",
    "<marquee onstart={}>",
    "<meta http-equiv=refresh content='0;javascript:{}'>",
    "javascript:{}",
    "data:text/html,<script>{}</script>",
    "{{{{constructor.constructor('{}')()}}}}",
    "${{{}}}",
)
_WRAPS = ("{}", '">{}', "</textarea>{}", "\u202e{}<!--")
PAYLOADS = [wrap.format(script.format("window.hurt=1")) for script in _SCRIPTS for wrap in _WRAPS]
"""Each would set window.hurt where it is taken for more than text."""
_SHORT = [text for text in PAYLOADS if len(text) <= 64]
"""What a name of a key may hold: all but two or three."""
_CHOICES = ["yes", *PAYLOADS[:4]]
_SET = {
    "name": "hurting",
    "cluster": "sentiment",
    "description": PAYLOADS[0],
    "source": {"kind": "dataset", "name": "hurting"},
    "fields": {"text": "text"},
    "answer": {"column": "label", "choices": _CHOICES},
    "metrics": ["accuracy"],
    "templates": [
        {"input": text.replace("{", "{{").replace("}", "}}") + "\n{text}\n{options_}"} for text in PAYLOADS
    ],
}
_WATCH = """() => {
    window.isTheSamePage = true;
    window.planted = [];
    const hurts = element => /^(iframe|object|embed|marquee|video|math|template|meta)$/.test(element.localName)
        || (element.localName === 'script' && !element.src)
        || element.getAttributeNames().some(name => name.startsWith('on'))
        || element.getAttribute('src') === 'x'
        || /javascript:/.test(element.getAttribute('href') ?? '');
    new MutationObserver(records => {
        for (const {addedNodes} of records) for (const node of addedNodes) {
            if (node.nodeType !== Node.ELEMENT_NODE) continue;
            for (const each of [node, ...node.querySelectorAll('*')]) if (hurts(each)) planted.push(each.outerHTML);
        }
    }).observe(document, {subtree: true, childList: true});
    addEventListener('securitypolicyviolation', event => planted.push(`${event.effectiveDirective} ${event.sample}`));
}"""
"""Whatever the page makes of the texts is seen, also where it is gone again before anybody looks."""


@pytest.fixture(scope="module")
def attacked() -> Iterator[Platform]:
    """A platform of its own, on which every text that can be handed in or written is a script."""
    with running_platform() as platform:
        _hand_in(platform)
        _write_as_a_rank(platform, platform.get("/jobs", name="hurt", kind="tune")["data"][0]["id"])
        yield platform


@pytest.fixture
def page(attacked: Platform) -> Iterator[Page]:
    """Of an administrator; in the end no script has run, none was planted, and the policy had nothing to stop."""
    with running_browser() as browser:
        visitor = Visitor(browser, attacked.url, attacked.home)
        visitor.sign_in()
        visitor.page.evaluate(_WATCH)
        yield visitor.page
        seen = visitor.page.evaluate("[window.isTheSamePage, window.planted, 'hurt' in window]")
        # Of a request that the API refuses, the browser says so itself.
        complaints = [each for each in visitor.complaints if "the server responded with" not in each]
        visitor.close()
    assert (seen, complaints) == ([True, [], False], [])


def test_what_others_wrote_is_shown_as_text(attacked: Platform, page: Page) -> None:
    """Keys, metadata, figures' names, events, errors, logs, templates, rows, options, answers, refused words."""
    assert len(set(PAYLOADS)) == 80
    job_id = attacked.get("/jobs", name="hurt", kind="tune")["data"][0]["id"]
    measured = attacked.get("/jobs", name="hurt-measured")["data"][0]["id"]
    _shows(page, "/settings", _SHORT)
    _shows(page, f"/jobs/{job_id}", PAYLOADS[:2])
    quoted = [json.dumps(text, ensure_ascii=False) for text in PAYLOADS[:16]]
    _shows(page, f"/jobs/{job_id}?tab=configuration", quoted)
    _shows(page, f"/jobs/{job_id}?tab=timeline", PAYLOADS)
    _shows(page, f"/jobs/{job_id}?tab=charts&charts={quote(PAYLOADS[1])}", PAYLOADS[1:2])
    for number, text in enumerate(PAYLOADS):
        _shows(page, f"/jobs/{job_id}?tab=logs&find={quote(text)}", [text])
        _shows(page, f"/templates/hurting?template={number}&row={number}", [text])
        _go(page, f"/jobs?find={quote(text)}")
        expect(page.get_by_role("textbox", name="Name")).to_have_value(text)
    _shows(page, "/templates", PAYLOADS[:1])
    _shows(page, f"/evaluations?jobs={measured}&task=hurting&column=0", _CHOICES)
    for summary in page.locator("details.sample > summary").all():
        summary.click()
    expect(page.get_by_label("What the model read").first).to_contain_text("window.hurt=1")
    for place in ("/", "/mixtures", "/models"):
        _go(page, place)
    page.evaluate("place => { location.hash = place }", f"/jobs/{quote(PAYLOADS[4], safe='')}")
    expect(page.get_by_role("alert")).to_contain_text(PAYLOADS[4])


def test_what_a_model_answers_is_shown_as_text(attacked: Platform, page: Page) -> None:
    """Chosen: an option that is a script. Written: a model that has learned nothing but scripts."""
    _go(page, "/playground?model=hurt")
    page.get_by_label("Begin with a row of a task").fill("hurting")
    page.get_by_role("button", name="Fill in").click()
    expect(page.get_by_label("Instruction")).to_have_value(re.compile("window.hurt"))
    page.get_by_role("button", name="Choose", exact=True).click()
    for option in PAYLOADS[:4]:
        expect(page.locator("[data-option]").filter(has_text=option).first).to_be_visible()
    page.get_by_role("button", name="Ask through all templates").click()
    expect(page.locator("[data-vote]")).to_contain_text(PAYLOADS[0])

    page.route("**/generate", _write_scripts)
    _go(page, "/playground?model=hurt&mode=write")
    page.get_by_label("Instruction").fill("Hurt me")
    page.get_by_role("button", name="Write", exact=True).click()
    for text in PAYLOADS:
        expect(page.locator("[data-answer]")).to_contain_text(text)


def test_what_is_written_in_the_page_is_shown_as_text(attacked: Platform, page: Page) -> None:
    """Drafts are rendered and refused while they are written; addresses may come from anybody."""
    _go(page, "/template-editor")
    for text in PAYLOADS[::4]:
        draft = {"name": "mine", "extends": "hurting", "templates": [{"input": "{text} {nobody} " + text}]}
        page.get_by_label("Template set as YAML").fill(json.dumps(draft))
        expect(page.get_by_role("alert").first).to_contain_text("nobody")
    for text in PAYLOADS[::4]:
        mixture = quote(json.dumps({"tasks": [text]}))
        _shows(page, f"/mixtures?mixture={mixture}", [text])
        _go(page, f"/new-job?mixture={mixture}")
        expect(page.get_by_role("alert").first).to_be_visible()


def _go(page: Page, place: str) -> None:
    page.evaluate("place => { location.hash = place }", place)
    expect(page.locator("main h1")).to_be_visible()


def _shows(page: Page, place: str, texts: list[str]) -> None:
    _go(page, place)
    for text in texts:
        expect(page.locator("main")).to_contain_text(text)


def _write_scripts(route: Route) -> None:
    """What a rank would stream; no model of a test's size writes eighty scripts by itself."""
    pieces = "".join(f"event: token\ndata: {json.dumps({'text': text})}\n\n" for text in PAYLOADS)
    route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=pieces)


def _hand_in(platform: Platform) -> None:
    """By the API: keys, a job with metadata, rows, a template set; and what comes of them."""
    for text in _SHORT:
        platform.post("/keys", {"name": text, "scopes": ["generate"]})
    rows = "".join(f"{json.dumps({'text': text, 'label': 'yes'})}\n" for text in PAYLOADS)
    for split in ("train", "validation"):
        params = {"name": "hurting", "split": split, "format": "jsonl"}
        assert platform.http.post("/datasets", params=params, content=rows).is_success
    platform.post("/template-sets", _SET)
    about = {f"k{number}": text for number, text in enumerate(PAYLOADS[:16])}
    small = {"steps": 4, "checkpoint_every": 4, "resources": {"device": "cpu"}}
    platform.until_ended(platform.submit(TUNE | small | {"name": "hurt", "metadata": about}))
    evaluate: dict[str, Any] = {"kind": "evaluate", "name": "hurt-measured", "model": "hurt"}
    evaluate |= {"tasks": ["hurting"], "limit": 8, "templates_per_task": 2, "input_length": 192}
    platform.until_ended(platform.submit(evaluate))
    platform.submit({"kind": "serve", "name": "hurt", "model": "hurt"})
    platform.until(lambda: platform.get("/v1/models")["data"], "the model to answer")


def _write_as_a_rank(platform: Platform, job_id: str) -> None:
    """Into the log, the journal, the figures and the failure of a job, past every check of the API's."""
    log = platform.home / "runs" / job_id / "attempt-1" / "logs" / "rank-0.log"
    with log.open("a") as lines:
        lines.writelines(f"{text}\n" for text in PAYLOADS)
    with platform.machine.sessions.begin() as session:
        job = lock(session, job_id)
        for text in PAYLOADS:
            record(session, job, "warning", {"message": text}, attempt=1)
        record(session, job, "note", {text: text for text in PAYLOADS}, attempt=1)
        session.add(Metric(job_id=job_id, step=1, name=PAYLOADS[1], value=1.0, attempt=1))
        failure = {"code": "hurt", "blame": "user", "message": PAYLOADS[0], "hint": PAYLOADS[1]}
        job.error = failure | {"log": PAYLOADS}
