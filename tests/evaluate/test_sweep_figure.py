"""The evaluations of a sweep as columns of one report."""

from pathlib import Path

from flan.evaluate.results import Results
from flan.evaluate.sweep_figure import draw_sweep
from flan.evaluate.sweep_report import Measured, sweep_report
from tests.evaluate.test_report import results, task_result


def measured(job: str, task: str, steps: int, **labels: str) -> Measured:
    """An evaluation of one task."""
    found = results(job, "proven", task_result(task, [0.4, 0.6], cluster=task))
    lineage = found.lineage.model_copy(update={"steps": steps})
    return Measured(job, labels, found.model_copy(update={"lineage": lineage}))


def both(first: Results, second: Results) -> Results:
    """One evaluation of two tasks."""
    return first.model_copy(
        update={"tasks": (*first.tasks, *second.tasks), "verdicts": first.verdicts | second.verdicts}
    )


def test_models_of_different_held_out_clusters_make_one_column(tmp_path: Path) -> None:
    """Other axes tell columns apart; the base, measured once, stands first; and there is a picture."""
    asked = {"exemplars": ("zero-shot", "few-shot")}
    tuned = [
        measured("tuned", task, 8, held_out=task, exemplars=label)
        for task in ("sentiment", "entailment")
        for label in asked["exemplars"]
    ]
    base = measured("base", "sentiment", 0)._replace(
        results=both(*(measured("base", task, 0).results for task in ("sentiment", "entailment")))
    )
    made = sweep_report([*tuned, base])

    assert [column.label for column in made.columns] == ["base", "tuned, zero-shot", "tuned, few-shot"]
    assert [line.task for line in made.tasks] == ["sentiment", "entailment"]
    assert all(all(line.figures) for line in made.tasks)
    for path in draw_sweep("cluster-sweep", made, tmp_path):
        assert path.stat().st_size > 0
