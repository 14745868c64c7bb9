"""What the demo trains on is of known kin: its held-out cluster can be proven to be unseen."""

from api.demo import GENERATED, REAL
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
