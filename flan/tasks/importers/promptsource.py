"""promptsource YAML files (Bach et al. 2022) → template sets of ours in their own language."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from flan.errors import InvalidDocument
from flan.spec import Document, parse
from flan.tasks.importers.promptsource_yaml import read_yaml
from flan.tasks.joins import hub_name
from flan.tasks.metric_names import MetricName
from flan.tasks.promptsource import PromptsourceTemplate, Text
from flan.tasks.task import Task

MAX_TEMPLATES = 1_000
METRICS: dict[str, tuple[MetricName, ...]] = {
    "Accuracy": ("accuracy",),
    "ROUGE": ("rouge_l", "rouge_1", "rouge_2"),
    "BLEU": ("bleu",),
    "Squad": ("f1", "exact_match"),
    "Trivia QA": ("trivia_f1", "trivia_exact_match"),
    "COQA F1": ("f1",),
    "Edit Distance": ("edit_similarity",),
}
"""promptsource's names → ours. Its other names are of metrics that need more than a prompt's answer."""


class PromptsourceSet(Document):
    """The templates of one dataset, and why the others of its file could not be imported."""

    dataset: Text
    subset: Text | None = None
    templates: tuple[PromptsourceTemplate, ...] = Field(max_length=MAX_TEMPLATES)
    refused: dict[str, str] = {}
    """Name → reason."""


def read_promptsource(text: str) -> PromptsourceSet:
    """The template set in a YAML file of promptsource; templates that cannot be imported are in `refused`.

    Raises InvalidDocument when the file as a whole cannot be read.
    """
    value = read_yaml(text)
    found = value.pop("templates")
    templates: list[PromptsourceTemplate] = []
    refused: dict[str, str] = {}
    names: set[str] = set()
    for key, fields in found.items():
        name = str(fields.get("name", key))
        label = name if name not in names else f"{name} ({key})"
        names.add(name)
        try:
            templates.append(PromptsourceTemplate.parse(_as_document(fields)))
        except InvalidDocument as error:
            refused[label] = error.problems[0]["message"]
    return PromptsourceSet.parse(
        value | {"templates": [each.model_dump(mode="json") for each in templates], "refused": refused}
    )


def promptsource_task(
    found: PromptsourceSet,
    *,
    name: str,
    cluster: str,
    splits: Mapping[str, str],
    folder: str | None = None,
    metrics: Sequence[MetricName] = (),
) -> Task:
    """The set as a task whose rows are the dataset's, by the columns its templates read.

    `splits`: our split → the hub's, `folder`: where the hub layout has it (None: under the task's name).
    Without `metrics`, those that the templates of the original task name. Raises InvalidDocument.
    """
    asking = [each for each in found.templates if each.role == "answer"]
    named = [metric for each in asking for known in each.metrics for metric in METRICS.get(known, ())]
    is_choice = bool(asking) and all(each.answer_choices for each in asking)
    source = {"kind": "hub", "id": found.dataset, "config": found.subset, "folder": folder}
    document = {
        "name": name,
        "cluster": cluster,
        "origins": [hub_name(found.dataset, found.subset)],
        "description": f"Templates of promptsource for {found.dataset} {found.subset or ''}".strip(),
        "source": source | {"splits": dict(splits)},
        "metrics": list(metrics or dict.fromkeys(named or ["accuracy" if is_choice else "rouge_l"])),
        "templates": [each.model_dump(mode="json") for each in found.templates],
    }
    return parse(Task, document)


def _as_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    metadata = fields.get("metadata") or {}
    given = {key: value for key, value in fields.items() if key not in ("metadata", "reference")}
    lists = {key: metadata.get(key) or [] for key in ("metrics", "languages")}
    return given | {**metadata, **lists}
