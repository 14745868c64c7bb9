"""Template sets, tasks and aliases: versions that stay, kin that is known, moves that are not blind."""

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from api.catalog.tables import TemplateSetRow
from flan.tasks.task import Task
from tests.api.world import DIGEST, SHOP_MOOD
from tests.kit.models import tiny_model
from workers.ledger import models
from workers.ledger.models import NewModel
from workers.ledger.session import engine_of
from workers.ledger.tables import Base


def test_the_migrations_make_the_tables_that_the_code_declares(sessions: sessionmaker[Session]) -> None:
    """Ledger and catalog: nothing is missing, nothing is left over."""
    with engine_of(sessions).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, Base.metadata) == []


def test_an_extension_takes_everything_but_the_templates_and_stays_kin(client: TestClient) -> None:
    """Who trained on the one has seen the other's rows: one family, one cluster, one source."""
    made = client.post("/template-sets", json=SHOP_MOOD).json()
    base = Task.parse(client.get("/tasks/shop_reviews").json()["document"])
    task = Task.parse(made["document"])

    assert (
        task.model_copy(update={"name": base.name, "family": base.family, "templates": base.templates})
        == base
    )
    assert task.family == (base.family or base.name)
    assert len(task.templates) == 1


def test_an_extension_of_a_hub_task_reads_the_same_folder(client: TestClient) -> None:
    """A folder that is named after the task must not move with the new name."""
    document = {"name": "my-rte", "extends": "rte", "templates": [{"input": "{premise}\n{options_}"}]}
    made = client.post("/template-sets", json=document)

    assert made.status_code == 201, made.text
    assert made.json()["document"]["source"]["folder"] == "rte"


def test_the_same_document_again_is_the_version_that_is_there(client: TestClient) -> None:
    """Only a change makes a version; old ones can still be had by number."""
    first = client.post("/template-sets", json=SHOP_MOOD)
    again = client.post("/template-sets", json=SHOP_MOOD)
    changed = client.post(
        "/template-sets", json={**SHOP_MOOD, "templates": [{"input": "{review} Well?\n{options_}"}]}
    )

    assert (first.status_code, again.status_code, changed.status_code) == (201, 200, 201)
    assert again.json() == first.json()
    assert client.get("/template-sets/shop-mood@1").json() == _stored(first)
    assert client.get("/template-sets/shop-mood").json() == _stored(changed)
    assert client.get(f"/template-sets/{first.json()['id']}").json() == _stored(first)
    assert [each["version"] for each in client.get("/template-sets").json()["data"]] == [2]


def _stored(uploaded: Response) -> dict[str, Any]:
    """What of the answer to an upload is shown later."""
    return {name: value for name, value in uploaded.json().items() if name != "findings"}


def test_a_stored_version_cannot_be_changed(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """Not even by a statement of our own: jobs speak of it by number."""
    client.post("/template-sets", json=SHOP_MOOD)

    with pytest.raises(IntegrityError, match="cannot be changed"), sessions.begin() as session:
        session.execute(update(TemplateSetRow).values(sha256="0"))


def test_yaml_and_json_are_the_same_document(client: TestClient) -> None:
    """As people write it, and as programs send it."""
    template = "  - input: |-\n      {review}\n      Good or bad?\n      {options_}\n"
    yaml = f"name: shop-mood\nextends: shop_reviews\ntemplates:\n{template}"
    from_yaml = client.post("/template-sets", content=yaml, headers={"Content-Type": "application/yaml"})

    assert from_yaml.status_code == 201, from_yaml.text
    assert client.post("/template-sets", json=SHOP_MOOD).status_code == 200


def test_a_dry_run_checks_and_keeps_nothing(client: TestClient) -> None:
    """What would be stored is shown, and is not there afterwards."""
    answer = client.post("/template-sets?dry_run=true", json=SHOP_MOOD)

    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert client.get("/template-sets/shop-mood").status_code == 404


def test_the_name_of_a_built_in_task_is_taken(client: TestClient) -> None:
    """What `rte` means does not depend on who uploaded something."""
    answer = client.post("/template-sets", json={**SHOP_MOOD, "name": "shop_reviews"})

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_a_misspelt_reference_gets_the_nearest_name(client: TestClient) -> None:
    """Wherever a template set, a task or a dataset is named; a name that is right gets its versions."""
    client.post("/template-sets", json=SHOP_MOOD)
    client.post("/datasets?name=reviews&split=train&format=jsonl", content='{"text": "a"}\n')

    def hint(path: str, body: Any = None) -> str:
        answer = client.get(path) if body is None else client.post(path, json=body)
        assert answer.status_code == (404 if body is None else 422)
        return answer.json()["hint"]

    def job(task: str) -> Any:
        mixture = {"collection": "synthetic", "tasks": [task]}
        return {"kind": "tune", "name": "m", "base": "preset:nano", "mixture": mixture}

    shop_mood = "did you mean 'shop-mood'?"
    assert hint("/template-sets/shop-mod") == shop_mood
    assert hint("/render", {"task": "shop-mod"}) == shop_mood
    assert hint("/jobs", job("shop-mod")) == shop_mood
    assert hint("/template-sets", {**SHOP_MOOD, "name": "a", "extends": "shop-mod"}) == shop_mood
    assert hint("/template-sets/shop-mood@7") == "shop-mood has the versions @1 to @1"
    assert hint("/jobs", job("shop-mood@7")) == "shop-mood has the versions @1 to @1"
    assert hint("/template-sets/zzz") == "there are: shop-mood"
    assert hint("/render", {"task": "shop_revews"}) == "did you mean 'shop_reviews'?"
    assert hint("/tasks/shop_revews") == "did you mean 'shop_reviews'?"
    assert hint("/datasets/reviws") == "did you mean 'reviews'?"


def test_lint_finds_what_is_odd_on_given_rows_and_on_the_tasks_own(client: TestClient) -> None:
    """An answer among no options is an error; the task's own rows have none. What came with the platform, too."""
    client.post("/template-sets", json=SHOP_MOOD)
    built_in = client.post("/template-sets/shop_reviews/lint", json={}).json()
    own = client.post("/template-sets/shop-mood/lint", json={})
    given = client.post("/template-sets/shop-mood/lint", json={"rows": [{"text": "a", "label": "purple"}]})

    assert own.json()["is_clean"] is True
    assert (built_in["name"], built_in["version"], built_in["is_clean"]) == ("shop_reviews", None, True)
    assert built_in["num_rows"] > 0
    assert given.json()["is_clean"] is False
    assert "target_not_in_options" in [finding["code"] for finding in given.json()["findings"]]


def test_an_upload_is_answered_with_what_is_odd_about_it(client: TestClient) -> None:
    """The same findings as the lint gives later; a cluster nobody knows; rows that cannot be looked at."""
    rows = '{"text": "Fine.", "label": "good"}\n{"text": "Poor.", "label": "purple"}\n'
    client.post("/datasets?name=rows&split=train&format=jsonl", content=rows)
    task = {
        "name": "mine", "cluster": "sentimant", "source": {"kind": "dataset", "name": "rows"},
        "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
        "metrics": ["accuracy"], "templates": [{"input": "{text}s\n{options_}"}],
    }  # fmt: skip
    uploaded = client.post("/template-sets", json=task).json()["findings"]
    found = {finding["code"]: finding for finding in uploaded}

    assert (found["target_not_in_options"]["severity"], found["target_not_in_options"]["row"]) == ("error", 1)
    assert found["literal_after_field"]["template"] == 0
    assert "did you mean 'sentiment'?" in found["new_cluster"]["message"]
    assert client.post("/template-sets/mine/lint", json={}).json()["findings"] == uploaded

    nowhere = {"kind": "hub", "id": "none/none", "splits": {"train": "train"}}
    of_the_hub = task | {"name": "mine-too", "cluster": "sentiment", "source": nowhere}
    codes = {each["code"] for each in client.post("/template-sets", json=of_the_hub).json()["findings"]}

    assert {"literal_after_field", "missing_rows"} <= codes
    assert "new_cluster" not in codes


def test_render_shows_rows_as_a_model_sees_them(client: TestClient) -> None:
    """Given rows or rows of a split, one template or all; a number too far is named."""
    client.post("/template-sets", json=SHOP_MOOD)
    row = {"text": "A {curly} film", "label": "positive"}
    all_ = client.post("/render", json={"task": "shop_reviews", "split": "validation", "indices": [3]}).json()
    choices = all_["data"][0]["choices"]
    given = client.post("/render", json={"task": "shop-mood", "rows": [row | {"label": choices[0]}]}).json()
    too_far = client.post("/render", json={"task": "shop-mood", "indices": [0, 10**6]})
    no_template = client.post("/render", json={"task": "shop-mood", "template": 5})

    assert {each["template"] for each in all_["data"]} == set(range(len(all_["data"])))
    assert given["data"][0]["input"].startswith("A {curly} film\nGood or bad?\nOPTIONS:\n- ")
    assert given["data"][0]["target"] == choices[0]
    assert (too_far.status_code, too_far.json()["errors"][0]["pointer"]) == (422, "/indices/1")
    assert (no_template.status_code, no_template.json()["errors"][0]["pointer"]) == (422, "/template")


def test_an_alias_moves_only_for_who_has_seen_where_it_is(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """428 without If-Match, 412 with an old one; two who read the same state cannot both move it."""
    with sessions.begin() as session:
        for i in range(3):
            models.register(session, NewModel("m", "tuned", DIGEST[:-1] + str(i), tiny_model().card))
    path = "/models/m/aliases/best"
    made = client.put(path, json={"version": 1})
    seen = client.get(path).headers["etag"]

    assert (made.status_code, made.headers["etag"]) == (200, seen)
    assert client.put(path, json={"version": 2}).status_code == 428
    assert client.put(path, json={"version": 2}, headers={"If-Match": seen}).status_code == 200
    assert client.put(path, json={"version": 3}, headers={"If-Match": seen}).status_code == 412
    assert client.get("/models/m@best").json()["version"] == 2
    assert client.put(path, json={"version": 9}, headers={"If-Match": "*"}).status_code == 404
    assert client.delete(path).status_code == 428
    assert client.delete(path, headers={"If-Match": "*"}).status_code == 204
    assert client.get(path).status_code == 404
    assert [each["id"] for each in client.get("/models/m/versions").json()["data"]] == ["m@3", "m@2", "m@1"]
