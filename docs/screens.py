"""Take the pictures in docs/screens: every screen of the dashboard, in light, in dark and on a phone.

`make screenshots` runs it on the platform that runs here, which `make demo-data` has filled: the address is FLAN_SERVER
or 127.0.0.1:8000, the key lies in FLAN_HOME. Pictures have 96 colours each, so all of them together stay small.
"""

import io
import os
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.kit.browser import PHONE, Visitor, running_browser

FOLDER = Path(__file__).parent / "screens"
DESK = {"width": 1280, "height": 800}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "has_touch": True},
}
_FREQUENT, _FAR_APART = 96, 64
"""Colours of a picture: what surfaces and words have, and what is rare on a page, as the colour of a state."""


def main() -> None:
    """Write every picture. The platform must hold what `flan demo-data` makes."""
    url = os.environ.get("FLAN_SERVER", "http://127.0.0.1:8000").rstrip("/")
    home = Path(os.environ.get("FLAN_HOME", ".flan"))
    shown = places(url, home)
    FOLDER.mkdir(exist_ok=True)
    with running_browser() as browser:
        for look, context in LOOKS.items():
            _take(browser, url, home, look, context, shown)


def places(url: str, home: Path) -> dict[str, str]:
    """Name of a picture → what stands behind the # of its address, on a platform that `flan demo-data` has filled."""
    key = (home / "key").read_text().strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:

        def jobs(name: str, kind: str) -> list[str]:
            found = http.get("/jobs", params={"name": name, "kind": kind}).raise_for_status().json()["data"]
            return [job["id"] for job in found]

        twins = jobs("helper", "tune")
        (failed, *_), (measured, *_) = jobs("too-hot", "tune"), jobs("helper-measured", "evaluate")
        sweep, *_ = jobs("rates", "sweep")
    tuned = twins[0]
    return {
        "home": "/",
        "jobs": "/jobs",
        "job": f"/jobs/{tuned}",
        "job-failed": f"/jobs/{failed}?tab=timeline",
        "job-data": f"/jobs/{tuned}?tab=data",
        "job-configuration": f"/jobs/{tuned}?tab=configuration",
        "results": f"/jobs/{measured}",
        "sweep": f"/jobs/{sweep}",
        "compare": f"/compare?jobs={','.join(twins[:2])}",
        "new-job": "/new-job",
        "templates": "/templates",
        "template-set": "/templates/plain-reviews",
        "template-editor": "/template-editor",
        "mixtures": "/mixtures",
        "evaluations": "/evaluations",
        "models": "/models",
        "model": "/models/helper",
        "playground": "/playground?model=helper",
        "settings": "/settings",
    }


def _take(
    browser: Browser, url: str, home: Path, look: str, context: dict[str, Any], shown: dict[str, str]
) -> None:
    visitor = Visitor(browser, url, home, **context)
    visitor.page.goto(url)
    expect(visitor.page.get_by_label("API key")).to_be_visible()
    _save(visitor.page, f"sign-in-{look}")
    visitor.sign_in()
    for name, place in shown.items():
        visitor.go(place)
        if name == "playground":
            _ask(visitor.page)
        visitor.is_at_rest()
        _save(visitor.page, f"{name}-{look}")
    visitor.close()


def _ask(page: Page) -> None:
    """A question, so that there is an answer to see."""
    page.get_by_label("Instruction").fill(
        "The soup was cold and nobody smiled.\n\nWould this guest come back?"
    )
    page.get_by_role("button", name="Choose", exact=True).click()
    expect(page.locator("[data-option]").first).to_be_visible()


def _save(page: Page, name: str) -> None:
    """What is seen without scrolling."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    colors = sorted(picture.getcolors(picture.width * picture.height), reverse=True)[:_FREQUENT]
    far = picture.quantize(_FAR_APART, method=Image.Quantize.MAXCOVERAGE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for _, color in colors for level in color] + far)
    few = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
