"""The record of a tuned model: what a later verdict rests on."""

from pathlib import Path

from flan.card import LeakageCheck
from flan.data.resolve import resolve
from flan.data.rows import Places
from flan.spec import TuneSpec
from flan.store import Store
from flan.tasks.task import Task
from flan.tasks.taxonomy import judge, load_taxonomy
from flan.train.base import tuned_lineage
from flan.train.progress import Progress
from tests.kit.models import tiny_model
from tests.kit.tasks import KitLibrary, make_rows, make_task, write_hub


def _verdict(root: Path, asked: Task, *seen: Task) -> str:
    """On `asked`, of a model that was tuned on `seen`."""
    for task in seen:
        write_hub(root / "data", task.name, {"train": make_rows(4)})
    mixture = {"collection": "synthetic", "tasks": [task.name for task in seen]}
    spec = TuneSpec.parse({"kind": "tune", "name": "x", "base": "preset:nano", "mixture": mixture})
    library, places = (
        KitLibrary((asked,), {task.name: task for task in seen}),
        Places(root / "data", Store(root)),
    )
    resolved = resolve(spec, library, places).spec
    assert isinstance(resolved, TuneSpec)
    checked = LeakageCheck(policy="allow", words=13, short_words=8)
    lineage = tuned_lineage(resolved, tiny_model(), Progress(step=1), checked, device="cpu", draws="0" * 64)
    return judge(lineage, asked, load_taxonomy("synthetic"), (asked,)).verdict


def test_the_record_keeps_what_documents_of_others_are_akin_to(tmp_path: Path) -> None:
    """From the document through the pins to the card: texts that are shared, kin that nobody knows, nothing akin."""
    asked = make_task("yelp_polarity_reviews", origins=[])
    shares = make_task("a", cluster="style_transfer", origins=["dualrl"])
    strange = make_task("b", cluster="style_transfer", origins=["a_new_dataset"])
    clean = make_task("c", cluster="style_transfer", origins=["babi"])

    assert _verdict(tmp_path / "1", asked, shares, clean) == "violated"
    assert _verdict(tmp_path / "2", asked, strange, clean) == "unknown"
    assert _verdict(tmp_path / "3", asked, clean) == "proven"
