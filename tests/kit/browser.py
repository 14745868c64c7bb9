"""Debian's Chromium in front of the dashboard of a platform, used as a person would use it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from api.dashboard_build import WEB, build
from tests.kit.platform import PATIENCE_S

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 390, "height": 844}
_PATIENCE_MS = 1_000 * PATIENCE_S
_AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
_WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_LEAVE = """place => {
    const path = hash => hash.replace(/^#/, '').split('?')[0] || '/';
    const before = document.querySelector('#main [data-page]');
    if (before !== null && path(place) !== path(location.hash)) before.setAttribute('data-left', '');
    location.hash = place;
}"""
_WITHOUT_MOTION = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("*, ::before, ::after { transition: none !important; animation: none !important }");
    document.adoptedStyleSheets = [sheet];
}"""
"""What is half-way between two colours has the contrast of neither."""


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser with nothing in its memory, and a dashboard that is built from its sources as they are."""
    build()
    expect.set_options(timeout=_PATIENCE_MS)
    with tempfile.TemporaryDirectory(prefix="flan-browser-") as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=list(FLAGS),
            timeout=_PATIENCE_MS,
            env=dict(os.environ) | {"HOME": home},
        )
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One person with a browser of their own; what the page complained of is in `complaints`."""

    def __init__(self, browser: Browser, url: str, home: Path, **context: Any) -> None:
        self.url = url
        self._key = (home / "key").read_text().strip()
        self._context = browser.new_context(**context)
        self._context.set_default_timeout(_PATIENCE_MS)
        self.complaints: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """One more page of the same browser, signed in if that is."""
        page: Page = self._context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location}")

    def sign_in(self) -> None:
        """With the administrator's key, by the form."""
        self.page.goto(self.url)
        self.page.get_by_label("API key").fill(self._key)
        self.page.get_by_role("button", name="Sign in").click()
        self.sees("Home")

    def sees(self, heading: str) -> None:
        """Returns when the screen of that heading is there."""
        expect(self.page.get_by_role("heading", name=heading, exact=True, level=1)).to_be_visible()

    def go(self, place: str) -> None:
        """To a screen, without loading the page anew; returns when that of before has gone."""
        self.page.evaluate(_LEAVE, place)
        expect(self.page.locator("[data-left]")).to_have_count(0)

    def is_at_rest(self) -> None:
        """Returns when everything that was asked for has come, charts have their points, and nothing moves."""
        self.page.evaluate(_WITHOUT_MOTION)
        expect(self.page.locator("main h1")).to_be_visible()
        for unfinished in ("[aria-busy=true]", "figure [role=img]:not([aria-label*=points])"):
            expect(self.page.locator(unfinished)).to_have_count(0)

    def faults(self) -> list[str]:
        """What axe has against the page as it is: the rule, and the first place it is broken at."""
        place = self.page.url.partition("#")[2] or "sign-in"
        self.is_at_rest()
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_axe())
        found = self.page.evaluate(
            "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})",
            _WCAG,
        )
        return [
            f"{place}: {each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary'][:300]}"
            for each in found["violations"]
        ]

    def close(self) -> None:
        """Leave."""
        self._context.close()


@cache
def _axe() -> str:
    return Path(_AXE).read_text()
