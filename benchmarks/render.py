"""How fast rows become prompts: FLAN's renderer, Jinja2, and promptsource's `Template.apply`, on the same templates.

    python benchmarks/render.py [--promptsource PYTHON] [--rounds 5]

Rows have the size of RTE's (premise of 20 to 90 words, hypothesis of 5 to 15), made of random words; each is
asked through the task's ten templates in turn, options included. All sides must give the same texts. Each
round runs every side once, in a process of its own. PYTHON is an interpreter that has promptsource
(`pip install --no-deps promptsource jinja2 pyyaml pandas "setuptools<81"`, in a virtual environment of its own).
Jinja2's templates are compiled once beforehand; promptsource compiles on each call, which is how it is used.

The last line is JSON: ratios of examples a second (FLAN's over the other's), and FLAN's own figures.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NUM_ROWS = 30_000
SECONDS = 2.0
"""How long a side renders in each round."""
Pair = tuple[str, str]
CHECKED = 200


def material() -> dict[str, Any]:
    """Rows and Jinja templates that say what FLAN's RTE says."""
    from flan.tasks.task import load_collection
    from flan.tasks.template import fill

    task = load_collection("flan")["rte"]
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5_000)]
    rows = [
        {
            "premise": " ".join(draw.choices(words, k=draw.randint(20, 90))) + ".",
            "hypothesis": " ".join(draw.choices(words, k=draw.randint(5, 15))) + ".",
            "label": list(task.answer.labels)[i % 2],
            "index": i % 2,
        }
        for i in range(NUM_ROWS)
    ]
    options = "OPTIONS:{% for choice in answer_choices %}\n- {{ choice }}{% endfor %}"
    slots = {name: "{{ " + column + " }}" for name, column in task.fields.items()}
    slots |= {"options_": options, "answer": "{{ answer_choices[index] }}"}
    templates = [f"{fill(each.input, slots)}|||{fill(each.target, slots)}" for each in task.templates]
    return {"rows": rows, "templates": templates, "choices": list(task.answer.choices)}


def flan_side(_: dict[str, Any]) -> Callable[[dict[str, Any], int], Pair]:
    """Row and number of the template → texts, by FLAN."""
    from flan.tasks.render import instance, render
    from flan.tasks.task import load_collection

    task = load_collection("flan")["rte"]
    templates = task.templates

    def ask(row: dict[str, Any], number: int) -> Pair:
        return render(instance(task, row), templates[number])[:2]

    return ask


def jinja2_side(given: dict[str, Any]) -> Callable[[dict[str, Any], int], Pair]:
    """The same by Jinja2, compiled beforehand."""
    from jinja2 import Environment

    environment = Environment(autoescape=False)
    compiled = [[environment.from_string(part) for part in each.split("|||")] for each in given["templates"]]
    choices = given["choices"]

    def ask(row: dict[str, Any], number: int) -> Pair:
        prompt, target = compiled[number]
        return prompt.render(answer_choices=choices, **row), target.render(answer_choices=choices, **row)

    return ask


def promptsource_side(given: dict[str, Any]) -> Callable[[dict[str, Any], int], Pair]:
    """The same by promptsource, as it is used."""
    from promptsource.templates import Template

    choices = " ||| ".join(given["choices"])
    templates = [
        Template(f"{i}", each, "", answer_choices=choices) for i, each in enumerate(given["templates"])
    ]

    def ask(row: dict[str, Any], number: int) -> Pair:
        prompt, target = templates[number].apply(row, truncate=False)
        return prompt, target

    return ask


SIDES = {"flan": flan_side, "jinja2": jinja2_side, "promptsource": promptsource_side}


def measure(side: str, path: Path) -> dict[str, Any]:
    """What one process of one side measures."""
    started = time.perf_counter()
    loaded_s = None
    if side == "flan":
        from flan.tasks.task import load_collection

        load_collection("flan")
        loaded_s = time.perf_counter() - started
    given = json.loads(path.read_text())
    ask, rows = SIDES[side](given), given["rows"]
    # promptsource strips the ends of what it prints.
    checked = [[text.strip() for text in ask(rows[i], i % 10)] for i in range(CHECKED)]
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        for i in range(done, done + 200):
            ask(rows[i % NUM_ROWS], i % 10)
        done += 200
    rate = done / (time.perf_counter() - started)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": rate, "checked": checked, "loaded_s": loaded_s, "peak_mb": peak_mb}


def run(side: str, interpreter: str, path: Path) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [interpreter, __file__, "--side", side, "--material", str(path)]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return result


def rounds(interpreters: dict[str, str], path: Path, count: int) -> Iterator[dict[str, dict[str, Any]]]:
    """Every side once a round, in turn. Exits where two sides do not say the same."""
    for _ in range(count):
        found = {side: run(side, interpreter, path) for side, interpreter in interpreters.items()}
        for side, one in found.items():
            if one["checked"] != found["flan"]["checked"]:
                sys.exit(f"{side} gives other texts than flan")
        yield found


def main() -> None:
    """Run the rounds and print the table, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--promptsource", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--material", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.material)))
        return
    interpreters = {"flan": sys.executable, "jinja2": sys.executable}
    if arguments.promptsource:
        interpreters["promptsource"] = arguments.promptsource
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "material.json"
        path.write_text(json.dumps(material()))
        found = list(rounds(interpreters, path, arguments.rounds))
    rates = {side: [one[side]["rate"] for one in found] for side in interpreters}
    for side, each in rates.items():
        print(
            f"{side:13} {statistics.median(each):>10,.0f} examples/s   ({min(each):,.0f} to {max(each):,.0f})"
        )
    loaded = statistics.median(one["flan"]["loaded_s"] for one in found)
    peak = max(one["flan"]["peak_mb"] for one in found)
    print(
        f"flan.tasks imported and the collection loaded in {loaded:.3f} s; peak memory {peak:.0f} MB, rows included"
    )
    ratios = {
        f"flan/{side}": round(statistics.median(a / b for a, b in zip(rates["flan"], each, strict=True)), 2)
        for side, each in rates.items()
        if side != "flan"
    }
    settings = {"rounds": arguments.rounds, "seconds": SECONDS, "rows": NUM_ROWS, "templates": 10}
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    own = {
        "examples_per_s": round(statistics.median(rates["flan"])),
        "load_s": round(loaded, 3),
        "peak_mb": round(peak),
    }
    print(
        json.dumps(
            {"benchmark": "render", "ratios": ratios, "flan": own, "settings": settings, "machine": machine}
        )
    )


if __name__ == "__main__":
    main()
