"""Write docs/clusters, a page for each cluster of the collection, and docs/report, an evaluation to look at.

Each task has its source, its answers and every template, rendered on the task's made-up row. The report is made of
docs/report/report.json, which `flan report --to FOLDER` has written. Run `python -m docs.make` after a change of
a task or of a table; a test compares the pages with what this would write.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from flan.evaluate.plots import draw, save
from flan.evaluate.publication import Report
from flan.evaluate.tables import markdown
from flan.spec import parse
from flan.tasks.lint_collection import ClusterCount, count_clusters
from flan.tasks.render import instance, render
from flan.tasks.task import Answer, HubSource, Task, load_collection
from flan.tasks.taxonomy import Taxonomy, load_taxonomy
from flan.tasks.yaml_text import parse_json

FOLDER = Path(__file__).parent / "clusters"
REPORT = Path(__file__).parent / "report"


def main() -> None:
    """Write every page, and delete those of clusters that are gone."""
    wanted = pages(load_collection("flan"), load_taxonomy("flan"))
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    report = parse(Report, parse_json((REPORT / "report.json").read_text()))
    (REPORT / "README.md").write_text(report_page(report))
    save(draw("clusters", report), REPORT / "clusters.svg")


def report_page(report: Report) -> str:
    """The text of docs/report/README.md: what was measured, the picture, every table."""
    return _join(_report(report))


def _report(report: Report) -> Iterator[str]:
    base, tuned = report.columns
    yield "# A report"
    yield (
        f"`{base.model}` is a network of {base.num_parameters:,} weights with random values, `{tuned.model}` the same "
        f"after {tuned.tuned_steps:,} steps of 3,584 tokens of the mixture `flan2021` that held natural language "
        "inference and its neighbour, paraphrase, out: half an hour of one core. So small a network learns a little "
        "of what it was shown and nothing of what it never saw; the page shows what a report says of that, and that "
        "it does not say more than was found. The cluster is *proven* but for QNLI, whose questions are those of "
        "SQuAD. It is written by `python -m docs.make` from [report.json](report.json)."
    )
    yield (
        "`flan evaluate` asks; each folder that it leaves is a column:\n\n```bash\nflan evaluate -f eval.yaml "
        f"--set model={base.model} --out base/\nflan evaluate -f eval.yaml --set model={tuned.model} --out tuned/\n"
        "flan report base/ tuned/ --to report/\n```"
    )
    yield "![Bars by cluster, base and tuned, with published figures in grey](clusters.svg)"
    yield markdown(report).rstrip()


def pages(tasks: Mapping[str, Task], taxonomy: Taxonomy) -> dict[str, str]:
    """File name → text: README.md, the list of the clusters, and a page for each."""
    counts = count_clusters(tasks, taxonomy)
    written = {"README.md": _join(_overview(counts))}
    for count in counts:
        here = [task for task in tasks.values() if task.cluster == count.cluster]
        written[f"{count.cluster}.md"] = _join(_cluster(count, here, taxonomy))
    return written


def _overview(counts: list[ClusterCount]) -> Iterator[str]:
    yield "# Clusters of the FLAN collection"
    yield "A cluster is the unit of holding out. These pages are written by `python -m docs.make`."
    rows = [
        f"| [{count.name}]({count.cluster}.md) | {count.tasks} | {count.families} | {count.templates} "
        f"| {count.inverted} | {count.with_options} |"
        for count in counts
    ]
    head = "| cluster | tasks | families | templates | inverted | with options |\n|---|---|---|---|---|---|"
    yield "\n".join([head, *rows])
    yield "Variants of a dataset are a family; those that are asked in the same words count their templates once."


def _cluster(count: ClusterCount, tasks: list[Task], taxonomy: Taxonomy) -> Iterator[str]:
    yield f"# {count.name}"
    yield f"Cluster `{count.cluster}`: {_number(count.tasks, 'task')}, {_number(count.templates, 'template')}."
    if neighbours := taxonomy.neighbours.get(count.cluster):
        links = ", ".join(f"[{taxonomy.clusters[each]}]({each}.md)" for each in neighbours)
        yield f"Left out of training together with it: {links}."
    names = {task.name for task in tasks}
    edges = [edge for edge in taxonomy.lineage if {edge.a, edge.b} & names]
    if edges:
        yield "Made from the same texts:"
        yield "\n".join(f"- `{edge.a}` and `{edge.b}`: {edge.why}" for edge in edges)
    first: dict[object, Task] = {}
    for task in tasks:
        yield f"## {task.name}"
        yield task.description
        yield "\n".join(_facts(task))
        owner = first.setdefault(task.templates, task)
        if owner is task:
            yield from _renderings(task, range(len(task.templates)))
        else:
            yield f"It is asked in the words of [{owner.name}](#{owner.name}); for instance:"
            yield from _renderings(task, range(1))


def _facts(task: Task) -> Iterator[str]:
    source = task.source
    assert isinstance(source, HubSource), "the collection is made of datasets of the hub"
    yield "| | |\n|---|---|"
    config = f", configuration `{source.config}`" if source.config else ""
    revision = f", revision `{source.revision}`" if source.revision else ""
    yield f"| source | [{source.id}](https://huggingface.co/datasets/{source.id}){config}{revision} |"
    yield f"| licence | {task.licence} |"
    yield f"| splits | {'; '.join(_split(source, split) for split in source.splits)} |"
    yield f"| answers | {_answers(task.answer)} |"
    yield f"| metrics | {', '.join(task.metrics)} |"


def _split(source: HubSource, split: str) -> str:
    part = source.part(split)
    rows = f", {part.count(source.rows[part.split]):,} rows" if part.split in source.rows else ""
    return f"{split} = `{source.splits[split]}`{rows}"


def _answers(answer: Answer) -> str:
    if answer.choices:
        return ", ".join(f"“{choice}”" for choice in answer.choices)
    return "one of the row's own choices" if answer.has_choices else "free text"


def _renderings(task: Task, which: range) -> Iterator[str]:
    assert task.example is not None, "the lint of the collection asks for one"
    seen = instance(task, task.example)
    for i in which:
        rendered = render(seen, task.templates[i])
        title = f"Template {i}" + (", inverted" if task.templates[i].role == "inverted" else "")
        # Four marks: a text of three would end the block.
        yield f"{title}\n\n````text\n{rendered.input}\n````\n\n→\n\n````text\n{rendered.target}\n````"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _join(parts: Iterator[str]) -> str:
    """Paragraphs, with an empty line between them."""
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
