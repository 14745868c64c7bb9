"""`flan demo`: the main job, told in plain words, on the platform itself and through its public API.

Upload a template set → tune, with one cluster held out → evaluate base and tuned model → serve → ask.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from api.client import Client, Unreachable, connect
from api.commands.output import console
from api.commands.watching import watch
from flan.errors import FlanError
from flan.spec import TuneSpec, parse

UP_PATIENCE_S = 120.0
MODEL = "demo"
HELD_OUT = "entailment"


class DemoFailed(FlanError):
    """A step of the demonstration did not end well."""

    code: ClassVar[str] = "demo_failed"
    blame = "system"


class Scene(NamedTuple):
    """What is tuned and measured: on generated rows, or on real ones."""

    collection: str
    template_sets: tuple[dict[str, Any], ...]
    train_on: tuple[str, ...]
    training: dict[str, Any]
    measured: tuple[tuple[str, tuple[str, ...]], ...]
    """Split, and the tasks measured on it."""
    limit: int
    templates_per_task: int
    max_new_tokens: int
    asked: tuple[tuple[str, str, int], ...]
    """Task, split and row of the questions put to the served model."""


_TRAINING = {
    "tokens_per_step": 3_584,
    "input_length": 384,
    "target_length": 64,
    "micro_batch": 4,
    "precision": "bf16",
    "log_every": 5,
    "resources": {"ranks": 2},
}

_OPTIMIZER = {
    "name": "adamw",
    "learning_rate": 1e-3,
    "schedule": "linear",
    "warmup_steps": 20,
    "gradient_clip": 1.0,
}

GENERATED = Scene(
    collection="synthetic",
    template_sets=(
        {
            "name": "plain-reviews",
            "extends": "shop_reviews",
            "description": "Three more ways to ask how a customer felt.",
            "templates": [
                {"input": "{review}\n\nDid this shopper leave happy?\n\n{options_}"},
                {
                    "input": "Here is what a customer wrote: {review}\nSum up the verdict in one word.\n{options_}"
                },
                {"input": "{options_}\n\nWhich of these fits the note below?\n\n{review}"},
            ],
        },
    ),
    train_on=("*",),
    training=_TRAINING | {"steps": 450, "checkpoint_every": 150, "optimizer": _OPTIMIZER},
    measured=(
        (
            "validation",
            (
                "animal_classes",
                "customer_wishes",
                "diary_moods",
                "headline_topics",
                "learner_sentences",
                "marble_counts",
                "pronoun_pointers",
                "question_kinds",
                "question_topics",
                "room_clues",
                "safe_habits",
                "shop_reviews",
                "tools_for_jobs",
                "word_senses",
                "code_to_english",
                "weather_tables",
                "rule_pairs",
                "state_pairs",
            ),
        ),
    ),
    limit=100,
    templates_per_task=10,
    max_new_tokens=32,
    asked=(("shop_reviews", "validation", 3), ("rule_pairs", "validation", 5)),
)

REAL = Scene(
    collection="flan",
    template_sets=(
        {
            "name": "news-topics",
            "cluster": "text_categorization",
            "description": "The section of a newspaper that a report belongs to.",
            "licence": "non-commercial research use (AG's corpus)",
            "source": {
                "kind": "hub",
                "id": "fancyzhx/ag_news",
                "config": "default",
                "folder": "ag_news_subset",
                "splits": {"train": "train", "test": "test"},
            },
            "fields": {"text": "text"},
            "answer": {
                "column": "label",
                "choices": ["world", "sports", "business", "technology"],
                "labels": {
                    "World": "world",
                    "Sports": "sports",
                    "Business": "business",
                    "Sci/Tech": "technology",
                },
            },
            "metrics": ["accuracy"],
            "templates": [
                {"input": "{text}\n\nWhich section of the paper does this report belong to?\n\n{options_}"},
                {"input": "Sort this news item into a section.\n\n{text}\n\n{options_}"},
                {"input": "What is the following report about?\n{options_}\n\nReport: {text}"},
            ],
        },
        {
            "name": "fact-themes",
            "cluster": "text_categorization",
            "description": "What a sentence made from data is about.",
            "licence": "CC BY-NC-SA 4.0 (WebNLG)",
            "source": {
                "kind": "hub",
                "id": "GEM/web_nlg",
                "config": "en",
                "folder": "web_nlg_en",
                "splits": {"train": "train", "test": "validation"},
            },
            "fields": {"fact": "target"},
            "answer": {
                "column": "category",
                "choices": [
                    "airport",
                    "astronaut",
                    "building",
                    "city",
                    "comics",
                    "food",
                    "monument",
                    "sports team",
                    "university",
                    "written work",
                ],
                "labels": {
                    "Airport": "airport",
                    "Astronaut": "astronaut",
                    "Building": "building",
                    "City": "city",
                    "ComicsCharacter": "comics",
                    "Food": "food",
                    "Monument": "monument",
                    "SportsTeam": "sports team",
                    "University": "university",
                    "WrittenWork": "written work",
                },
            },
            "metrics": ["accuracy"],
            "templates": [
                {"input": "{fact}\n\nWhat is this fact about?\n\n{options_}"},
                {"input": "File this statement under one heading.\n\n{fact}\n\n{options_}"},
                {"input": "Pick the theme of the sentence below.\n{options_}\n\nSentence: {fact}"},
            ],
        },
    ),
    train_on=(
        "trec",
        "sst2",
        "cola",
        "wic",
        "wsc",
        "definite_pronoun_resolution",
        "winogrande",
        "copa",
        "gigaword",
        "arc_challenge",
        "natural_questions",
        "rte",
        "cb",
        "glue_mrpc",
    ),
    training=_TRAINING | {"steps": 900, "checkpoint_every": 300, "optimizer": _OPTIMIZER},
    measured=(
        (
            "test",
            ("rte", "cb", "sst2", "cola", "wic", "copa", "winogrande", "trec", "news-topics", "fact-themes"),
        ),
    ),
    limit=400,
    templates_per_task=4,
    max_new_tokens=32,
    asked=(("trec", "test", 3), ("rte", "test", 5)),
)


def demo(home: Path, data: Path | None, base: str) -> None:
    """Run the whole demonstration. Raises DemoFailed, and whatever the server refuses."""
    started = time.monotonic()
    scene = REAL if data else GENERATED
    with _platform(home, data, base) as client:
        _say(1, "Upload a template set", "Own ways of asking, for rows that are already there.")
        untuned, tuned = _tune(client, scene, [_upload(client, each) for each in scene.template_sets], base)
        _evaluate(client, scene, untuned, tuned)
        _serve_and_ask(client, scene, tuned)
        minutes, seconds = divmod(round(time.monotonic() - started), 60)
        is_ours = "FLAN_SERVER" not in os.environ
        console.print(
            f"\nDone in {minutes} min {seconds} s. {where_to_look(client.address, home if is_ours else None)}"
        )


def where_to_look(address: str, home: Path | None) -> str:
    """The page that shows what was done; `home` = where the demonstration's own platform kept it, which ends now."""
    if home is None:
        return f"The dashboard shows it: [bold]{address}/[/], signed in with a key of yours."
    port = address.rpartition(":")[2]
    again = "make up" if port == "8000" else f"flan up --port {port}"
    return (
        f"Everything stays under {home}: [bold]{again}[/] brings it back,\nthe served model too, and the dashboard "
        f"that shows it: [bold]{address}/[/], signed in with the key\nin {home / 'key'}."
    )


def _upload(client: Client, template_set: dict[str, Any]) -> str:
    """Hand a template set in; its reference (name@version)."""
    uploaded = client.send("POST", "/template-sets", json_body=template_set)
    reference = f"{uploaded['name']}@{uploaded['version']}"
    console.print(f"  {uploaded['id']}  {reference}, {len(template_set['templates'])} templates")
    return reference


def _tune(client: Client, scene: Scene, uploaded: list[str], base: str) -> tuple[str, str]:
    """Tune a model; the references (name@version) of what it was before and after."""
    _say(
        2,
        f"Tune {base}, with {HELD_OUT} held out",
        "The held-out cluster and its neighbour are never trained on.",
    )
    spec = {
        "kind": "tune",
        "name": MODEL,
        "base": base,
        "mixture": {
            "collection": scene.collection,
            "tasks": [*scene.train_on, *uploaded],
            "hold_out": {"clusters": [HELD_OUT]},
        },
        **scene.training,
    }
    console.print(_settings_table(spec))
    plan = client.send("POST", "/jobs", json_body=spec, params={"dry_run": "true"})
    pins = plan["spec"]["pins"]
    console.print(f"  trains on {len(pins['train'])} tasks in {len(_clusters(pins))} clusters; left out:")
    for task, reason in pins["excluded"].items():
        console.print(f"    {task}: {reason}", style="dim")
    job = _until_succeeded(client, _submit(client, spec))
    made = {model["role"]: str(model["id"]) for model in job["models"]}
    console.print(f"  {made['tuned']} from {job['id']}")
    return made.get("base", base), made["tuned"]


def _evaluate(client: Client, scene: Scene, untuned: str, tuned: str) -> None:
    """Measure base and tuned model on the same rows, side by side."""
    _say(
        3,
        "Evaluate, before and after",
        "Rows the model was not trained on, of its tasks and of the cluster never seen; every template.",
    )
    jobs = []
    for split, tasks in scene.measured:
        for model, label in ((untuned, "base"), (tuned, "tuned")):
            spec = {
                "kind": "evaluate",
                "name": f"{MODEL}-{label}",
                "model": model,
                "collection": scene.collection,
                "tasks": tasks,
                "split": split,
                "limit": scene.limit,
                "templates_per_task": scene.templates_per_task,
                "input_length": scene.training["input_length"],
                "max_new_tokens": scene.max_new_tokens,
            }
            jobs.append((split, _submit(client, spec)))
    results: dict[str, list[dict[str, Any]]] = {}
    for split, job in jobs:
        _until_succeeded(client, job)
        results.setdefault(split, []).append(client.get(f"/jobs/{job['id']}/results")["results"])
    for split, pair in results.items():
        _show_results(split, pair)
    console.print(_learned(results.values()))


def _show_results(split: str, pair: list[dict[str, Any]]) -> None:
    from flan.evaluate.report import results_table

    console.print(f"\n[bold]{split} rows[/]")
    console.print(results_table(pair, ["base", "tuned"]))
    per_template = Table("held-out task", "template", "n", "base", "tuned", box=None, header_style="bold")
    for before, after in zip(pair[0]["tasks"], pair[1]["tasks"], strict=True):
        if before["cluster"] != HELD_OUT:
            continue
        for one, other in zip(before["templates"], after["templates"], strict=True):
            figures = [f"{100 * each['metric_value']:.1f}" for each in (one, other)]
            per_template.add_row(before["task"], str(one["index"]), str(one["n"]), *figures)
    if per_template.row_count:
        console.print(per_template)


def _learned(pairs: Iterable[list[dict[str, Any]]]) -> str:
    """How many of the tasks trained on were learnt, by the lower bound of the tuned model's figure."""
    from flan.evaluate.report import compare
    from flan.evaluate.results import Results

    gains = []
    for line in (line for pair in pairs for line in compare([parse(Results, one) for one in pair]).lines):
        base, tuned = line.cells
        if base is None or tuned is None or tuned.verdict != "violated" or line.chance is None:
            continue
        gains.append(tuned.interval[0] - max(line.chance, line.majority or 0.0, base.mean))
    counts = ", ".join(
        f"{points} points on {sum(gain >= points / 100 for gain in gains)}" for points in (5, 15)
    )
    return (
        f"\nOf {len(gains)} classification tasks trained on, the lower 95% bound lies above the best of chance,\n"
        f"majority and base by at least {counts}. On the held-out cluster,\n"
        f"near chance is an honest result at this size."
    )


def _serve_and_ask(client: Client, scene: Scene, tuned: str) -> None:
    """Deploy the tuned model and put questions to it."""
    _say(4, "Serve it, and ask", "The prompts go through the renderer of training; a job serves the model.")
    _undeploy(client)
    job = _submit(client, {"kind": "serve", "name": MODEL, "model": tuned})
    for event in client.follow(job["id"]):
        if event.type == "serve.ready":
            break
        if event.type == "stream.end":
            raise DemoFailed(
                f"the model was not served: {event.data['state']}", hint=f"flan jobs show {job['id']}"
            )
    for task, split, row in scene.asked:
        wanted = {"task": task, "split": split, "indices": [row], "template": 0}
        shown = client.send("POST", "/render", json_body=wanted)["data"][0]
        asked = {"model": MODEL, "prompt": shown["input"]}
        chosen = client.send("POST", "/classify", json_body=asked)
        drawn = client.send(
            "POST", "/generate", json_body=asked | {"temperature": 0.9, "top_k": 40, "seed": 7}
        )
        console.print(Panel(Text(shown["input"]), title=f"{task}, {split} row {row}", title_align="left"))
        console.print("  POST /classify  " + _options(chosen))
        console.print(
            f"  POST /generate  (temperature 0.9, top-k 40) {drawn['choices'][0]['text']!r}", markup=False
        )
        console.print(f"  right answer    {shown['target']!r}\n", markup=False)


def _options(chosen: dict[str, Any]) -> str:
    shown = (f"{each['option']} {100 * each['probability']:.0f}%" for each in chosen["scores"])
    return f"[bold]{chosen['choice']}[/]   of  " + " · ".join(shown)


def _undeploy(client: Client) -> None:
    """One deployment at a time carries the demo's name."""
    for job in client.all("/jobs", 100, kind="serve", name=MODEL):
        if job["finished_at"] is None:
            client.send("POST", f"/jobs/{job['id']}/cancel")


def _submit(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    job: dict[str, Any] = client.send("POST", "/jobs", json_body=spec)
    console.print(f"  POST /jobs → {job['id']}  ({spec['kind']} {spec['name']})")
    return job


def _until_succeeded(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job as it ended."""
    state = watch(client.follow(job["id"]))
    ended: dict[str, Any] = client.get(f"/jobs/{job['id']}")
    if state != "succeeded":
        failure = ended["error"] or {}
        raise DemoFailed(
            f"{job['kind']} job {job['id']} {state}: {failure.get('message', '')}", hint=failure.get("hint")
        )
    return ended


def _settings_table(spec: dict[str, Any]) -> Table:
    """The demo's settings beside FLAN's, which are the defaults of a spec."""
    paper = TuneSpec(name=MODEL, base=spec["base"])
    rows = [
        ("steps", spec["steps"], paper.steps),
        ("tokens a step", spec["tokens_per_step"], paper.tokens_per_step),
        ("input / target length", f"{spec['input_length']} / {spec['target_length']}",
         f"{paper.input_length} / {paper.target_length}"),
        ("optimizer", f"{spec['optimizer']['name']} {spec['optimizer']['learning_rate']:g}",
         f"{paper.optimizer.name} {paper.optimizer.learning_rate:g}"),
        ("rows of a task, at most", paper.mixture.examples_cap, paper.mixture.examples_cap),
        ("rate, at most", paper.mixture.rate_maximum, paper.mixture.rate_maximum),
    ]  # fmt: skip
    table = Table("", "this demo", "FLAN", box=None, header_style="bold", padding=(0, 2))
    for name, *values in rows:
        table.add_row(name, *(f"{value:,}" if isinstance(value, int) else str(value) for value in values))
    return table


def _clusters(pins: dict[str, Any]) -> set[str]:
    return {pins["clusters"][task] for task in pins["train"]}


def _say(number: int, title: str, words: str) -> None:
    console.print(f"\n[bold cyan]{number}  {title}[/]\n   {words}", highlight=False)


@contextlib.contextmanager
def _platform(home: Path, data: Path | None, base: str) -> Iterator[Client]:
    """The platform: the one that runs on `home` already, else one of our own that ends with us."""
    os.environ["FLAN_HOME"] = str(home)
    if "FLAN_SERVER" in os.environ:
        yield connect(None)
        return
    port = _free_port()
    environment = os.environ | ({"FLAN_DATA": str(data)} if data else {})
    if Path(base).is_dir():
        environment["FLAN_MODELS"] = str(Path(base).absolute().parent)
    command = [sys.executable, "-c", "from api.cli import main; main()", "up", "--port", str(port)]
    platform = subprocess.Popen(command, env=environment)
    try:
        yield _reached(platform, f"http://127.0.0.1:{port}")
    finally:
        # Ctrl-C reached the platform too; a second SIGINT would cut its saving short.
        with contextlib.suppress(ProcessLookupError):
            platform.send_signal(signal.SIGTERM)
        platform.wait()


def _reached(platform: subprocess.Popen[bytes], address: str) -> Client:
    deadline = time.monotonic() + UP_PATIENCE_S
    while time.monotonic() < deadline and platform.poll() is None:
        with contextlib.suppress(Unreachable):
            client = connect(address)
            client.get("/readyz")
            return client
        time.sleep(0.3)
    raise DemoFailed("the platform did not start", hint="see what it said above, and FLAN_HOME/logs")


def _free_port() -> int:
    """8000 where it is free, else any."""
    for port in (8000, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise DemoFailed("no port is free on 127.0.0.1")
