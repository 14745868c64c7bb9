"""Results of evaluations → a report (flan/evaluate/publication.py)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple, get_args

from flan.errors import InvalidDocument, NotFound
from flan.evaluate.pairing import Paired, paired
from flan.evaluate.publication import (
    Beside,
    ClusterFigures,
    ClusterLine,
    Column,
    Report,
    TaskFigures,
    TaskLine,
)
from flan.evaluate.published import beside, caveats
from flan.evaluate.results import Results, TaskResult
from flan.evaluate.samples import SAMPLES, read_samples
from flan.evaluate.statistics import over_templates, verdict_of_all
from flan.spec import parse
from flan.tasks.metric_names import MetricName
from flan.tasks.taxonomy import load_taxonomy
from flan.tasks.yaml_text import parse_json, read_text_file

RESULTS_FILE = "results.json"


class Run(NamedTuple):
    """An evaluation that was carried out."""

    results: Results
    samples: Path | None = None
    """The folder of its samples; without it nothing can be compared question by question."""


def read_run(path: Path) -> Run:
    """The evaluation in a folder: a run directory, or the one that `flan evaluate --out` was given.

    A results.json alone will do. Raises NotFound, InvalidDocument.
    """
    places = (path, path / RESULTS_FILE, path / "run" / RESULTS_FILE)
    file = next((each for each in places if each.is_file()), None)
    if file is None:
        raise NotFound(f"no {RESULTS_FILE} in {path}", hint="give the folder of an evaluation that succeeded")
    try:
        results = parse(Results, parse_json(read_text_file(file)))
    except InvalidDocument as error:
        raise InvalidDocument(f"{file}: {error.message}", error.problems) from error
    samples = file.parent / SAMPLES
    return Run(results, samples if samples.is_dir() else None)


def report(runs: Sequence[Run], labels: Sequence[str] = (), *, system: str = "FLAN 137B") -> Report:
    """The report of at least one run, the first of which the others are compared with.

    `labels`: what the columns are called, else the models' names and how they were asked. `system`: whose
    published figures stand beside ours.
    """
    found = tuple(labels) or _labels([run.results for run in runs])
    by_task: dict[str, list[TaskResult | None]] = {}
    for i, run in enumerate(runs):
        for task in run.results.tasks:
            by_task.setdefault(task.task, [None] * len(runs))[i] = task
    lines = tuple(_task_line(measured, runs, system) for measured in by_task.values())
    return Report(
        columns=tuple(_column(label, run.results) for label, run in zip(found, runs, strict=True)),
        tasks=lines,
        clusters=tuple(_cluster_lines(lines)),
    )


def _labels(results: Sequence[Results]) -> list[str]:
    labels: list[str] = []
    for one in results:
        said = [one.model]
        said += [f"{one.few_shot.shots}-shot"] if one.few_shot else []
        said += [one.prompt_format.replace("_", " ")] if one.prompt_format != "instructions" else []
        label = ", ".join(said)
        same = sum(each == label or each.startswith(f"{label} (") for each in labels)
        labels.append(f"{label} ({same + 1})" if same else label)
    return labels


def _column(label: str, results: Results) -> Column:
    tuning = results.lineage.tunings[-1] if results.lineage.tunings else None
    return Column(
        label=label,
        model=results.model,
        model_digest=results.model_digest,
        base=results.lineage.base,
        num_parameters=results.num_parameters,
        tuned_steps=results.lineage.steps,
        clusters_seen=results.lineage.clusters_seen,
        trained_with=" and ".join(tuning.prompt_formats) or None if tuning else None,
        templates_trained=tuning.templates_per_task if tuning else None,
        prompt_format=results.prompt_format,
        shots=results.few_shot.shots if results.few_shot else 0,
        choose_by=results.choose_by,
        precision=results.precision,
        suite=results.suite,
        spec_digest=results.spec_digest,
        failed=results.failed,
    )


def _task_line(measured: Sequence[TaskResult | None], runs: Sequence[Run], system: str) -> TaskLine:
    first = next(one for one in measured if one is not None)
    present = [one for one in measured if one is not None]
    return TaskLine(
        task=first.task,
        cluster=first.cluster,
        metric=first.metric,
        signature=first.signatures.get(first.metric, first.metric),
        split=first.split,
        scoring=first.scoring,
        post=first.post,
        chance=first.chance,
        majority=first.majority,
        is_alike=len({(one.asked, one.metric, one.scoring, one.n) for one in present}) == 1,
        figures=tuple(
            _task_figures(one, run, system, _compared(measured[0], one, runs[0], run, is_first=i == 0))
            if one
            else None
            for i, (one, run) in enumerate(zip(measured, runs, strict=True))
        ),
    )


def _task_figures(one: TaskResult, run: Run, system: str, against: Paired | None) -> TaskFigures:
    results = run.results
    return TaskFigures(
        over_templates=over_templates(one.templates),
        n=one.n,
        num_rows=one.num_rows,
        interval=one.interval,
        interval_method=one.interval_method,
        best=one.best.metric_value if one.best else None,
        best_template=one.best.index if one.best else None,
        verdict=results.verdicts[one.task],
        num_unclean=results.unclean.get(one.task),
        clean=one.clean.mean if one.clean else None,
        clean_n=one.clean.n if one.clean else None,
        metrics={name: fmean(figures) for name, figures in _over_metrics(one).items()},
        metric_spreads={
            name: stdev(figures) for name, figures in _over_metrics(one).items() if len(figures) > 1
        },
        published=_beside(one, results, system),
        paired=against,
    )


def _over_metrics(one: TaskResult) -> dict[str, list[float]]:
    """Metric → its figure through each template."""
    names = one.templates[0].metrics
    return {name: [template.metrics[name] for template in one.templates] for name in names}


def _beside(one: TaskResult, results: Results, system: str) -> Beside | None:
    cited = beside(one, results, system)
    if cited is None:
        return None
    figure = cited.figure
    return Beside(
        system=figure.system,
        value=figure.value / 100,
        spread=None if figure.spread is None else figure.spread / 100,
        confidence=figure.confidence,
        reference=cited.reference,
        caveats=caveats(one, results, cited),
    )


def _compared(
    base: TaskResult | None, other: TaskResult, first: Run, run: Run, *, is_first: bool
) -> Paired | None:
    """The paired test of a run against the first; None where it cannot be made."""
    if is_first or base is None or first.samples is None or run.samples is None:
        return None
    if (base.asked, base.metric, base.scoring) != (other.asked, other.metric, other.scoring):
        return None
    if {one.index: one.n for one in base.templates} != {one.index: one.n for one in other.templates}:
        return None
    mine, theirs = (
        [each.sample for each in read_samples(folder, task=other.task, split=other.split)]
        for folder in (first.samples, run.samples)
    )
    return paired(_metric(base.metric), mine, theirs)


def _metric(name: str) -> MetricName:
    assert name in get_args(MetricName), name
    return name  # type: ignore[return-value]


def _cluster_lines(lines: Sequence[TaskLine]) -> Iterator[ClusterLine]:
    names: Mapping[str, str] = {**load_taxonomy("synthetic").clusters, **load_taxonomy("flan").clusters}
    for cluster in dict.fromkeys(line.cluster for line in lines):
        here = [line for line in lines if line.cluster == cluster]
        whole = [line for line in here if all(line.figures)]
        columns = range(len(here[0].figures))
        yield ClusterLine(
            cluster=cluster,
            name=names.get(cluster, cluster.replace("_", " ").capitalize()),
            tasks=tuple(line.task for line in whole),
            figures=tuple(_cluster_figures([line.figures[i] for line in whole]) for i in columns),
        )


def _cluster_figures(figures: Sequence[TaskFigures | None]) -> ClusterFigures | None:
    present = [each for each in figures if each is not None]
    if not present:
        return None
    spreads = [each.over_templates.spread for each in present if each.over_templates.spread is not None]
    return ClusterFigures(
        mean=fmean(each.over_templates.mean for each in present),
        spread=fmean(spreads) if spreads else None,
        num_tasks=len(present),
        n=sum(each.n for each in present),
        verdict=verdict_of_all(each.verdict for each in present),
    )
