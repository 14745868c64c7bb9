"""The pages about the clusters are what the tasks say today."""

from docs.make import FOLDER, REPORT, pages, report_page
from flan.evaluate.grids import grids
from flan.evaluate.publication import Report
from flan.spec import parse
from flan.tasks.render import instance, render
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy
from flan.tasks.yaml_text import parse_json

TASKS = load_collection("flan")
PAGES = pages(TASKS, load_taxonomy("flan"))


def test_the_pages_of_the_repository_are_those_that_would_be_written() -> None:
    """Not one is missing, stale or left over. To mend it: python -m docs.make."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.md")} == PAGES


def test_every_task_is_shown_with_an_example() -> None:
    """A heading, where its rows come from, under which licence, and at least one prompt with its target."""
    for task in TASKS.values():
        page = PAGES[f"{task.cluster}.md"]
        assert task.example is not None
        shown = render(instance(task, task.example), task.templates[0])
        section = page.split(f"\n## {task.name}\n")[1].split("\n## ")[0]
        assert f"| licence | {task.licence} |" in section
        assert f"````text\n{shown.input}\n````\n\n→\n\n````text\n{shown.target}\n````" in section


def test_every_template_is_rendered_once_in_its_cluster() -> None:
    """Ten for each list of templates, and one more for each task that shares one."""
    for cluster in {task.cluster for task in TASKS.values()}:
        here = [task for task in TASKS.values() if task.cluster == cluster]
        sets = {task.templates for task in here}
        assert PAGES[f"{cluster}.md"].count("\nTemplate ") == sum(map(len, sets)) + len(here) - len(sets)


def test_the_report_page_is_what_its_stored_report_gives() -> None:
    """Every line of figures has its n and its verdict. To mend it: python -m docs.make."""
    report = parse(Report, parse_json((REPORT / "report.json").read_text()))
    page = (REPORT / "README.md").read_text()
    tables = [grid for grid in grids(report) if grid.title != "Columns"]

    assert page == report_page(report)
    assert (REPORT / "clusters.svg").is_file()
    assert len(tables) == 5
    for grid in tables:
        assert {"n", "zero-shot"} <= set(grid.header)
        assert all(row[grid.header.index("n")] and row[-1] for row in grid.rows)
