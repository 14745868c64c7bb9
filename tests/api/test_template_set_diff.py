"""What changed between two versions of a template set: nothing is missed, and nothing that stayed is named."""

from typing import Any

from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from api.catalog.changes import field_changes, template_changes
from flan.tasks.task import Task, load_collection

BASE = load_collection("synthetic")["shop_reviews"]


def version(*inputs: str, **fields: Any) -> Task:
    """A task that asks with these patterns."""
    templates = [{"input": f"{text} {{review}}"} for text in inputs]
    return Task.parse(BASE.model_dump(mode="json") | {"templates": templates} | fields)


def changes(before: Task, after: Task) -> list[tuple[str, int | None, int | None]]:
    """Kind and numbers of each change."""
    return [(each.change, each.before, each.after) for each in template_changes(before, after)]


def test_a_template_put_in_front_leaves_the_others_what_they_are() -> None:
    """They have other numbers, and are the same templates."""
    assert changes(version("a", "b"), version("x", "a", "b")) == [("added", None, 0)]
    assert changes(version("x", "a", "b"), version("a", "b")) == [("removed", 0, None)]


def test_a_change_in_its_place_is_a_change_with_its_lines() -> None:
    """A unified diff of the texts, with the numbers of both."""
    before, after = version("a", "b\n1\n2", "c"), version("a", "b\n1\n3", "c")
    (change,) = template_changes(before, after)

    assert (change.change, change.before, change.after) == ("changed", 1, 1)
    lines = change.diff.splitlines()
    assert lines[:2] == ["--- template 1", "+++ template 1"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  2 {review}", "+  3 {review}"]


def test_the_same_text_in_another_place_has_moved() -> None:
    """Numbers are what results and requests speak of."""
    assert changes(version("a", "b", "c"), version("b", "c", "a")) == [("moved", 0, 2)]
    assert set(changes(version("a", "b", "c"), version("x", "b", "a"))) == {
        ("added", None, 0), ("moved", 0, 2), ("removed", 2, None),
    }  # fmt: skip


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7),
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7),
)
def test_the_changes_account_for_every_template(old: list[str], new: list[str]) -> None:
    """Each number stands in at most one change, and what stands in none is the same text on both sides."""
    found = changes(version(*old), version(*new))
    gone, come = [i for _, i, _ in found if i is not None], [j for _, _, j in found if j is not None]
    kept_old = [text for i, text in enumerate(old) if i not in gone]
    kept_new = [text for j, text in enumerate(new) if j not in come]

    assert len(set(gone)) == len(gone)
    assert len(set(come)) == len(come)
    assert kept_old == kept_new
    assert all(old[i] == new[j] for kind, i, j in found if kind == "moved" and None not in (i, j))  # type: ignore[index]
    assert all(old[i] != new[j] for kind, i, j in found if kind == "changed")  # type: ignore[index]
    assert (found == []) == (old == new)


def test_every_other_field_is_named_by_its_place() -> None:
    """Lists whole, what is new or gone against nothing, names with a slash escaped."""
    before = version("a", description="old", constants={"one": "1"})
    after = version("b", description="new", metrics=["accuracy", "macro_f1"], constants={"two": "2"})
    found = {each.pointer: (each.before, each.after) for each in field_changes(before, after)}

    assert found == {
        "/description": ("old", "new"),
        "/metrics": (["accuracy"], ["accuracy", "macro_f1"]),
        "/constants/one": ("1", None),
        "/constants/two": (None, "2"),
    }


def push(client: TestClient, *inputs: str) -> None:
    """The next version of `mood`."""
    templates = [{"input": f"{{review}} {text}\n{{options_}}"} for text in inputs]
    answer = client.post(
        "/template-sets", json={"name": "mood", "extends": "shop_reviews", "templates": templates}
    )
    assert answer.status_code == 201, answer.text


def test_versions_are_compared_by_number(client: TestClient) -> None:
    """The newest with the one before it, unless others are named; also backwards."""
    push(client, "Well?")
    push(client, "Well?", "Good?")
    push(client, "Well?", "Good?", "Bad?")

    def compared(path: str) -> tuple[int, int, list[str]]:
        answer = client.get(path).json()
        return answer["before"], answer["after"], [each["change"] for each in answer["templates"]]

    assert compared("/template-sets/mood/diff") == (2, 3, ["added"])
    assert compared("/template-sets/mood@2/diff") == (1, 2, ["added"])
    assert compared("/template-sets/mood/diff?from=1") == (1, 3, ["added", "added"])
    assert compared("/template-sets/mood/diff?from=3&to=1") == (3, 1, ["removed", "removed"])
    assert compared("/template-sets/mood/diff?from=2&to=2") == (2, 2, [])


def test_a_version_that_is_not_there_is_named(client: TestClient) -> None:
    """With the parameter, and the versions there are; a set that is not there is a 404."""
    push(client, "Well?")
    first = client.get("/template-sets/mood/diff")
    absent = client.get("/template-sets/mood/diff?from=1&to=7")

    assert (first.status_code, first.json()["errors"][0]["parameter"]) == (422, "from")
    assert first.json()["detail"] == "mood has no version before @1"
    assert (absent.status_code, absent.json()["errors"][0]["parameter"]) == (422, "to")
    assert absent.json()["hint"] == "mood has the versions @1 to @1"
    assert client.get("/template-sets/nothing/diff").status_code == 404
    assert client.get("/template-sets/mood/diff?from=0").status_code == 422
