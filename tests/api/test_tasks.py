"""GET /tasks finds tasks by what they are; GET /tasks/{name} shows one with its kin, sizes and renderings."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.settings import Settings
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy

FLAN = load_collection("flan")


def names(client: TestClient, **filters: Any) -> set[str]:
    """Every task that a filter leaves, over all pages."""
    found: set[str] = set()
    after = None
    while True:
        query = {"limit": 100, **filters, **({"after": after} if after else {})}
        page = client.get("/tasks", params=query).json()
        found |= {task["id"] for task in page["data"]}
        after = page["last_id"]
        if not page["has_more"]:
            return found


def test_filters_leave_what_they_name_and_all_must_hold(client: TestClient) -> None:
    """Cluster, family, preset, choices and metric, alone and together."""
    preset = load_taxonomy("flan").presets["flan2021"]
    with_choices = {name for name, task in FLAN.items() if task.has_choices}

    assert names(client) == set(FLAN)
    assert names(client, has_choices=True) == with_choices
    assert names(client, has_choices=False) == set(FLAN) - with_choices
    assert names(client, preset="flan2021") == {n for n, task in FLAN.items() if preset.holds(task)}
    assert names(client, metric="f1") == {n for n, task in FLAN.items() if "f1" in task.metrics}
    assert names(client, family=FLAN["anli_r1"].kin) == {"anli_r1", "anli_r2", "anli_r3"}
    both = names(client, cluster="entailment", has_choices=True)
    assert both == {n for n in with_choices if FLAN[n].cluster == "entailment"}
    assert names(client, cluster="entailment", metric="bleu") == set()


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        ({"cluster": "entailmnt"}, "did you mean 'entailment'?"),
        ({"preset": "flan2021s"}, "did you mean 'flan2021'?"),
        ({"family": "anly"}, "did you mean 'anli'?"),
        ({"preset": "x", "collection": "synthetic"}, "there are: none"),
        ({"metric": "acuracy"}, "did you mean 'accuracy'?"),
    ],
)
def test_a_filter_that_names_nothing_is_refused(
    client: TestClient, filters: dict[str, str], hint: str
) -> None:
    """A misspelt name must not look like an empty cluster."""
    answer = client.get("/tasks", params=filters)
    problem = answer.json()

    assert (answer.status_code, problem["code"]) == (422, "invalid_parameter")
    assert problem["errors"][0]["parameter"] in filters
    assert problem["hint"] == hint


def test_a_task_is_shown_with_its_kin_its_sizes_and_its_renderings(client: TestClient) -> None:
    """Sizes are those the dataset was published with, less what is set aside; kin by family and by texts."""
    qnli = client.get("/tasks/qnli").json()
    rte = client.get("/tasks/rte").json()
    anli = client.get("/tasks/anli_r1").json()
    source = FLAN["rte"].source

    assert rte["splits"].keys() == source.splits.keys()
    assert sum(split["num_rows"] for split in rte["splits"].values()) == 2_490 + 277
    assert rte["splits"]["validation"] == {"source": "train[-200:]", "num_rows": 200}
    variants = {each["task"] for each in anli["akin"] if each["why"] == "variants of one dataset"}
    assert variants == {"anli_r2", "anli_r3"}
    squad = [each for each in qnli["akin"] if each["task"].startswith("squad")]
    assert len(squad) == 2
    assert all("SQuAD" in each["why"] for each in squad)
    assert rte["metrics"] == ["accuracy"]
    assert [each["template"] for each in rte["samples"]] == list(range(10))
    assert all(each["error"] is None and each["input"] and each["target"] for each in rte["samples"])


def test_every_task_that_comes_with_the_platform_can_be_shown(client: TestClient) -> None:
    """A rendering for each template of each, without an error; those without a made-up row show a generated one."""
    wrong = []
    for collection in ("flan", "synthetic"):
        for name in sorted(names(client, collection=collection)):
            shown = client.get(f"/tasks/{name}").json()
            samples = shown["samples"]
            if len(samples) != len(shown["document"]["templates"]) or any(each["error"] for each in samples):
                wrong.append(name)

    assert wrong == []


def test_a_task_says_which_of_its_rows_are_on_this_machine(client: TestClient, settings: Settings) -> None:
    """Counted by what the folder says of itself, part by part; a split without a file is not named."""
    assert settings.data is not None
    folder = settings.data / "hub" / "rte"
    before = client.get("/tasks/rte").json()["rows_here"]
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text('{"rows": {"train": 2490}}')
    (folder / "train.jsonl").write_text("{}")
    found = {task["id"]: task["rows_here"] for task in client.get("/tasks?cluster=entailment").json()["data"]}
    (folder / "meta.json").write_text("{}")
    uncounted = client.get("/tasks/rte").json()["rows_here"]
    made = client.get("/tasks/shop_reviews").json()

    assert before == {}
    assert found["rte"] == {"train": 2_290, "validation": 200}
    assert found["cb"] == {}
    assert uncounted == {"train": None, "validation": None}
    assert made["rows_here"] == {split: each["num_rows"] for split, each in made["splits"].items()}
