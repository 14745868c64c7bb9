"""What the demo trains on is of known kin: its held-out cluster can be proven to be unseen."""

from pathlib import Path

from api.demo import GENERATED, REAL, where_to_look
from flan.spec import parse
from flan.tasks.task import Task
from flan.tasks.taxonomy import load_taxonomy


def test_every_set_of_the_demo_has_its_place() -> None:
    """One that is joined with nothing would make each verdict of the demo an unknown."""
    for scene in (GENERATED, REAL):
        taxonomy = load_taxonomy(scene.collection)
        for document in scene.template_sets:
            if "extends" in document:  # in the place of the set that it extends
                continue
            assert taxonomy.unplaced(parse(Task, document)) is None, document["name"]


def test_the_demo_ends_at_a_page_that_answers() -> None:
    """The address it was reached at itself, and the command that listens there again."""
    home = Path("/somewhere/.flan")
    usual, other = (where_to_look(f"http://127.0.0.1:{port}", home) for port in (8000, 41234))
    theirs = where_to_look("https://flan.example/team", None)

    assert "make up" in usual and "http://127.0.0.1:8000/" in usual
    assert "flan up --port 41234" in other and "http://127.0.0.1:41234/" in other
    assert "https://flan.example/team/" in theirs and "flan up" not in theirs
