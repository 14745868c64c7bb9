"""How fast the dashboard and the API below it are on a platform with much in it: 5,000 jobs, ten long runs.

    python -m benchmarks.dashboard [--jobs 5000] [--runs 10] [--points 30000] [--lines 100000] [--rounds 5]

A platform of its own runs beside a Chromium without a head; nothing is compared with a peer, each figure has a goal.

    api_jobs_ms         GET /jobs, 50 of them: median; the first page, and the one behind half of all jobs (goal 150)
    api_curves_ms       GET …/metrics?thin_to=2000 of every run, one after another: median of the sum (goal 300)
    first_load_kb       script that a browser fetches, packed, until it asks for a key (goal 300), and styles
    first_load_ms       from the address to the field for the key, with nothing in the browser's memory
    home_ms, jobs_ms    from the press to the screen with everything on it
    compare_ms          the same, all runs in each of the charts (data read, joined, drawn)
    …_frame_ms          time between two frames while the pointer goes over the chart or the list is scrolled:
                        median and 95th percentile; 16.7 is a screen's own pace

The last line is JSON.
"""

import argparse
import json
import os
import platform as machine
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from tests.kit.browser import Visitor, running_browser
from tests.kit.platform import Platform, running_platform
from tests.kit.real_trainer import TUNE

Figures = dict[str, Any]
_NAMES = ("train/loss", "train/learning_rate", "train/gradient_norm", "train/tokens_per_s")
_DRAWN = """([charts, curves]) => {
    const names = [...document.querySelectorAll('figure [role=img]')].map(each => each.ariaLabel);
    return names.length === charts && names.every(name => name.split(' points').length > curves);
}"""
_FRAMES = """() => {
    window.frames_ms = [];
    let before = performance.now();
    const tick = now => {
        window.frames_ms.push(now - before);
        before = now;
        window.ticking = requestAnimationFrame(tick);
    };
    window.ticking = requestAnimationFrame(tick);
}"""


def main() -> None:
    """Fill a platform, measure, print."""
    parser = argparse.ArgumentParser()
    for name, standard in (
        ("jobs", 5_000),
        ("runs", 10),
        ("points", 30_000),
        ("lines", 100_000),
        ("rounds", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=standard)
    wanted = parser.parse_args()
    with running_platform() as platform:
        runs = fill(platform, wanted)
        found = of_api(platform, runs, wanted) | of_browser(platform, runs, wanted)
    for name, figure in found.items():
        print(f"{name:22} {figure}")
    settings = vars(wanted) | {"curves": len(_NAMES)}
    about = {"cpus": os.cpu_count(), "machine": machine.machine(), "python": machine.python_version()}
    print(json.dumps({"benchmark": "dashboard", "figures": found, "settings": settings, "machine": about}))


def fill(platform: Platform, wanted: argparse.Namespace) -> list[str]:
    """Copies of one real job, ended; ids of those that have figures. The first one has a log."""
    small = {"steps": 2, "checkpoint_every": 2, "resources": {"device": "cpu"}}
    real = platform.submit(TUNE | small | {"name": "copied"})
    platform.until_ended(real)
    copied = (
        "kind",
        "spec",
        "spec_digest",
        "num_ranks",
        "device",
        "max_retries",
        "state",
        "progress",
        "finished_at",
    )
    # Behind the real one in every list.
    copies = f"""INSERT INTO jobs (id, name, {", ".join(copied)})
        SELECT 'job_00' || lpad(n::text, 24, '0'), 'copy-' || n, {", ".join(copied)}
        FROM jobs, generate_series(1, :count) n WHERE id = :real"""
    figures = """INSERT INTO metrics (job_id, step, name, value, attempt)
        SELECT :job, step, name, 2 + random() + 3 * exp(-step / 4000.0), 1
        FROM generate_series(1, :points) step, unnest(CAST(:names AS text[])) name"""
    runs = [f"job_00{number:024}" for number in range(1, wanted.runs + 1)]
    with platform.machine.sessions.begin() as session:
        session.execute(text(copies), {"count": wanted.jobs, "real": real})
        for job_id in runs:
            session.execute(text(figures), {"job": job_id, "points": wanted.points, "names": list(_NAMES)})
    with platform.machine.sessions() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(
            text("VACUUM ANALYZE")
        )
    log = platform.home / "runs" / real / "attempt-1" / "logs" / "rank-0.log"
    with log.open("a") as lines:
        lines.writelines(f"line {number}: all is well\n" for number in range(wanted.lines))
    return [real, *runs]


def of_api(platform: Platform, ids: list[str], wanted: argparse.Namespace) -> Figures:
    """Lists and curves, asked over one connection."""
    middle = f"job_00{wanted.jobs // 2:024}"

    def curves() -> None:
        for job_id in ids[1:]:
            found = platform.get(f"/jobs/{job_id}/metrics", name="train/loss", thin_to=2_000)
            assert len(found["data"]) > 1_000

    return {
        "api_jobs_ms": [
            median_ms(lambda: platform.get("/jobs", limit=50), wanted.rounds * 4),
            median_ms(lambda: platform.get("/jobs", limit=50, after=middle), wanted.rounds * 4),
        ],
        "api_curves_ms": median_ms(curves, wanted.rounds),
    }


def median_ms(act: Callable[[], Any], rounds: int) -> float:
    """Of `rounds` times, after one that does not count."""
    act()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        took.append(1_000 * (time.perf_counter() - began))
    return round(statistics.median(took), 1)


def of_browser(platform: Platform, ids: list[str], wanted: argparse.Namespace) -> Figures:
    """What a person with a browser waits for: the median of some, each with a browser that knows nothing yet."""
    with running_browser() as browser:
        rounds = [visit(browser, platform, ids, wanted.lines) for _ in range(wanted.rounds)]
    return {name: middle_of([each[name] for each in rounds]) for name in rounds[0]}


def visit(browser: Browser, platform: Platform, ids: list[str], num_lines: int) -> Figures:
    """One person's way through the screens that hold the most."""
    real, *runs = ids
    visitor = Visitor(browser, platform.url, platform.home, viewport={"width": 1440, "height": 900})
    page = visitor.page
    found: Figures = {}
    with timed(found, "first_load_ms"):
        page.goto(visitor.url)
        expect(page.get_by_label("API key")).to_be_visible()
    found["first_load_kb"] = loaded_kb(page)
    visitor.sign_in()
    visitor.is_at_rest()
    with timed(found, "jobs_ms"):
        visitor.go("/jobs")
        expect(page.get_by_role("row")).to_have_count(51)
    with timed(found, "home_ms"):
        visitor.go("/")
        visitor.is_at_rest()
    visitor.go("/jobs")
    expect(page.get_by_role("row")).to_have_count(51)
    found["jobs_frame_ms"] = frames(page, lambda: wheel(page, 60))
    with timed(found, "compare_ms"):
        visitor.go(f"/compare?jobs={','.join(runs)}")
        page.wait_for_function(_DRAWN, arg=[len(_NAMES), len(runs)])
    found["compare_frame_ms"] = frames(page, lambda: sweep_over(page))
    visitor.go(f"/jobs/{real}?tab=logs")
    expect(page.get_by_text(re.compile(rf"of {num_lines // 1_000},\d\d\d lines"))).to_be_visible()
    page.get_by_role("log").hover()
    found["log_frame_ms"] = frames(page, lambda: wheel(page, -60))
    assert visitor.complaints == []
    visitor.close()
    return found


def middle_of(figures: list[Any]) -> Any:
    """The median, of lists place by place."""
    if isinstance(figures[0], list):
        return [middle_of(list(each)) for each in zip(*figures, strict=True)]
    return round(statistics.median(figures), 1)


@contextmanager
def timed(found: Figures, name: str) -> Iterator[None]:
    """Note how long it took, in milliseconds."""
    began = time.perf_counter()
    yield
    found[name] = round(1_000 * (time.perf_counter() - began), 1)


def loaded_kb(page: Page) -> list[float]:
    """What came over the wire: scripts, styles."""
    sizes = page.evaluate(
        """() => ['.js', '.css'].map(ending => performance.getEntriesByType('resource')
            .filter(each => each.name.endsWith(ending)).reduce((sum, each) => sum + each.encodedBodySize, 0))"""
    )
    return [round(size / 1_000, 1) for size in sizes]


def frames(page: Page, act: Callable[[], None]) -> list[float]:
    """Median and 95th percentile of the time between two frames during `act`."""
    page.evaluate(_FRAMES)
    act()
    took = page.evaluate("cancelAnimationFrame(window.ticking), window.frames_ms.slice(2)")
    return [round(statistics.median(took), 1), round(sorted(took)[int(0.95 * len(took))], 1)]


def wheel(page: Page, by: int) -> None:
    """Scroll where the pointer is."""
    for _ in range(60):
        page.mouse.wheel(0, by)


def sweep_over(page: Page) -> None:
    """Over the first chart from left to right, then a part of it dragged open, and closed again."""
    box = page.locator("figure .u-over").first.bounding_box()
    assert box is not None
    left, right, y = box["x"] + 5, box["x"] + box["width"] - 5, box["y"] + box["height"] / 2
    page.mouse.move(left, y)
    page.mouse.move(right, y, steps=60)
    page.mouse.down()
    page.mouse.move((left + right) / 2, y, steps=20)
    page.mouse.up()
    page.mouse.dblclick((left + right) / 2, y)


if __name__ == "__main__":
    main()
