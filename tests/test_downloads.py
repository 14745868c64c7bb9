"""`flan data pull` and `flan data list`."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from typer.testing import CliRunner

from flan.cli import app
from flan.downloads import _wanted
from flan.errors import NotFound
from tests.kit.tasks import make_rows, make_task, write_hub

RUN = CliRunner()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two tasks: `mood`, whose dataset is a folder, and `gone`, whose dataset is nowhere."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = tmp_path / "source"
    source.mkdir()
    datasets.Dataset.from_list(make_rows(2_500)).to_parquet(source / "train.parquet")
    written = {}
    for name, place in (("mood", source), ("gone", tmp_path / "nowhere")):
        task = make_task(name, source={"kind": "hub", "id": str(place), "splits": {"train": "train"}})
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(task.model_dump(mode="json") | {"licence": f"of {name}"}))
        written[name] = str(path)
    return written


def test_a_task_that_fails_does_not_stop_the_others(tmp_path: Path, files: dict[str, str]) -> None:
    """A line when it begins, with the licence, and one when it ends; the reasons at the end; exit status 1."""
    to = tmp_path / "data"
    done = RUN.invoke(app, ["data", "pull", files["gone"], files["mood"], "--to", str(to)])
    again = RUN.invoke(app, ["data", "pull", files["mood"], "--to", str(to)])

    source = tmp_path / "source"
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"gone  {tmp_path / 'nowhere'} (default)  licence: of gone",
        "gone  failed",
        f"mood  {source} (default)  licence: of mood",
        "mood  pulled  train 2,500",
        "1 pulled, 0 there already, 1 failed",
    ]
    assert "gone: cannot fetch" in done.stderr
    assert "HF_TOKEN" in done.stderr
    assert (to / "hub" / "mood" / "meta.json").is_file()
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[1:] == [
        "mood  there already  train 2,500",
        "0 pulled, 1 there already, 0 failed",
    ]


def test_on_a_terminal_a_bar_tells_how_far_it_is(tmp_path: Path, files: dict[str, str]) -> None:
    """The bar goes; the lines stay."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "flan", "data", "pull", files["mood"], "--to", str(tmp_path / "data")]
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 65_536):
                shown += part
        except OSError:  # how a terminal ends
            pass
        assert process.wait() == 0, shown
    os.close(leader)

    text = shown.decode()
    assert "mood: fetching" in text
    assert "mood  pulled  train 2,500" in text
    assert "1 pulled, 0 there already, 0 failed" in text


def test_tasks_are_chosen_by_name_cluster_and_preset() -> None:
    """Each once; what there is none of is answered with the nearest name."""
    everything = _wanted([], [], None, everything=True)
    paper = {task.name for task in _wanted([], [], "flan2021", everything=False)}
    some = [task.name for task in _wanted(["sst2"], ["sentiment"], None, everything=False)]

    assert len(everything) == 80
    assert paper < {task.name for task in everything}
    assert "wsc" not in paper
    assert some[0] == "sst2"
    assert len(set(some)) == len(some) > 1
    for names, clusters, preset in ((["sst3"], [], None), ([], ["sentimental"], None), ([], [], "flan2012")):
        with pytest.raises(NotFound) as caught:
            _wanted(names, clusters, preset, everything=False)
        assert "did you mean" in str(caught.value.hint)


def test_nothing_asked_for_is_a_fault() -> None:
    """The whole collection is hundreds of gigabytes: it wants to be said."""
    done = RUN.invoke(app, ["data", "pull", "--to", "x"])

    assert done.exit_code == 2
    assert "--all" in done.stderr


def test_a_folder_of_datasets_is_listed(tmp_path: Path) -> None:
    """Which tasks have rows, how many a split, under which licence; a broken file is told."""
    write_hub(tmp_path, "sst2", {"train": [{"sentence": "a", "label": 0}] * 300, "validation": [{}] * 4})
    broken = write_hub(tmp_path, "rte", {"validation": []})
    (broken / "validation.jsonl.gz").write_bytes(b"\x1f\x8bno")

    text = RUN.invoke(app, ["data", "list", "--data", str(tmp_path)])
    machine = json.loads(RUN.invoke(app, ["data", "list", "--data", str(tmp_path), "-o", "json"]).stdout)

    assert text.exit_code == 0, text.output
    row = next(line for line in text.stdout.splitlines() if line.startswith("sst2"))
    assert row.split()[:5] == ["sst2", "sentiment", "100", "200", "4"]
    assert "rte: " in text.stderr
    assert "of 80 tasks have rows in" in text.stdout
    assert [each["task"] for each in machine["data"]] == ["rte", "sst2"]
    assert len(machine["without"]) == 78


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """With the command that fills one."""
    done = RUN.invoke(app, ["data", "list", "--data", str(tmp_path / "no")])

    assert done.exit_code == 3
    assert "flan data pull" in done.stderr
