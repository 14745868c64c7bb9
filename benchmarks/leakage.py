"""How fast a million training rows are compared with twenty test sets, beside the usual way of doing it.

    python benchmarks/leakage.py --data FOLDER [--rows 1000000] [--beside 50000] [--rounds 3]

FOLDER holds datasets in hub layout. Training rows are its real ones, repeated in edited copies (every tenth word
or so is another) until there are enough, in one file of JSON lines a task; held out are its twenty largest test
and validation sets. In some rows, at known places, a passage of a held-out text is planted.

The other side is what evaluation harnesses do, written plainly: each text in lower case and without signs, its
runs of 13 words as strings, looked up in a Python set of those of the held-out texts; no short texts, no
spans, no rule for stock phrases. Both sides read the same rows of `--beside` from disk, each in a process of its
own, in turn; ratios are of processor time for a row, indexing left out. Then FLAN's side alone compares all rows.

The last line is JSON: ratios, and FLAN's own figures over all rows.
"""

import argparse
import gzip
import json
import os
import platform
import random
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NUM_TEST_SETS = 20
WORDS = 13
PLANTED_EVERY = 997
"""Of so many training rows one has a passage planted."""
EDITED = 0.1
"""Share of the words of a copy that are others."""


def write_material(data: Path, folder: Path, num_rows: int) -> None:
    """The rows of both sides below `folder`, and which training rows have something planted."""
    hub = sorted(path for path in (data / "hub").iterdir() if path.is_dir() and path.name != "p3")
    held_out = {
        f"{path.parent.name}/{path.name.partition('.')[0]}": read(path)
        for task in hub
        for path in sorted(task.glob("*.jsonl.gz"))
        if path.name.startswith(("test", "validation"))
    }
    largest = sorted(held_out, key=lambda name: -sum(map(len, map(json.dumps, held_out[name]))))[
        :NUM_TEST_SETS
    ]
    (folder / "held_out.json").write_text(json.dumps({name: held_out[name] for name in largest}))
    passages = [
        " ".join(words[2 : 2 + WORDS + 7])
        for name in largest
        for row in held_out[name][::50]
        for value in row.values()
        if isinstance(value, str) and len(words := value.split()) > WORDS + 10
    ]
    # What several held-out texts say may be stock, and then is no leak.
    texts = [
        value
        for rows in held_out.values()
        for row in rows
        for value in row.values()
        if isinstance(value, str)
    ]
    spaced = [" ".join(text.split()) for text in dict.fromkeys(texts)]
    passages = [each for each in passages if sum(each in text for text in spaced) == 1]
    train = {
        task.name: [row for path in sorted(task.glob("train*.jsonl.gz")) for row in read(path)]
        for task in hub
    }
    train = {name: rows for name, rows in train.items() if rows}
    draw = random.Random(0)
    planted: dict[str, list[int]] = {}
    made = 0
    for turn, (name, rows) in enumerate(train.items(), start=1):
        count = num_rows * turn // len(train) - made
        with (folder / f"{name}.jsonl").open("w") as file:
            for number in range(count):
                row = rows[number % len(rows)]
                if number >= len(rows):
                    row = {key: edited(value, draw) for key, value in row.items()}
                if (made + number) % PLANTED_EVERY == 0:
                    row = row | {"planted": f"So it said: {draw.choice(passages)}"}
                    planted.setdefault(name, []).append(number)
                file.write(json.dumps(row) + "\n")
        made += count
    (folder / "planted.json").write_text(json.dumps(planted))


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a compressed file of JSON lines."""
    with gzip.open(path) as file:
        return [json.loads(line) for line in file]


def edited(value: Any, draw: random.Random) -> Any:
    """A text with some words exchanged for others of its own; any other value as it is."""
    if not isinstance(value, str) or " " not in value:
        return value
    words = value.split(" ")
    for _ in range(max(1, int(len(words) * EDITED))):
        words[draw.randrange(len(words))] = draw.choice(words) + draw.choice(string.ascii_lowercase)
    return " ".join(words)


def files(folder: Path, limit: int | None) -> Iterator[tuple[str, Path, int | None]]:
    """Task, its file, and how many of its rows are read: together `limit`."""
    paths = sorted(folder.glob("*.jsonl"))
    for path in paths:
        yield path.stem, path, limit // len(paths) if limit else None


def flan_side(folder: Path, limit: int | None) -> dict[str, Any]:
    """FLAN's check, rows read and parsed as a run does."""
    from flan.data.leakage import TrainingRows, find_leakage
    from flan.data.rows import Rows
    from flan.spec import Leakage

    held_out = json.loads((folder / "held_out.json").read_text())

    def train() -> Iterator[TrainingRows]:
        for task, path, count in files(folder, limit):
            rows = Rows(path.read_bytes(), path.name, "0" * 64)
            yield TrainingRows(task, rows, range(min(len(rows), count or len(rows))))

    began: list[float] = []
    report = find_leakage(train(), held_out, Leakage(), on_rows=lambda *_: began.append(time.process_time()))
    return {"flagged": report.train_rows, "rows": sum(report.train.values()), "began": began[0]}


def plain_side(folder: Path, limit: int | None) -> dict[str, Any]:
    """Runs of words as strings, in a set."""
    signs = str.maketrans(string.punctuation, " " * len(string.punctuation))

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from texts(each)

    def runs(text: str) -> Iterator[str]:
        words = text.lower().translate(signs).split()
        return (" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1))

    held_out = json.loads((folder / "held_out.json").read_text())
    known = {run for rows in held_out.values() for text in texts(rows) for run in runs(text)}
    began, flagged, num_rows = time.process_time(), {}, 0
    for task, path, count in files(folder, limit):
        with path.open() as file:
            for number, line in enumerate(file):
                if count is not None and number == count:
                    break
                num_rows += 1
                if any(run in known for text in texts(json.loads(line)) for run in runs(text)):
                    flagged.setdefault(task, []).append(number)
    return {"flagged": flagged, "rows": num_rows, "began": began}


SIDES = {"flan": flan_side, "plain_set_of_ngrams": plain_side}


def measure(side: str, folder: Path, limit: int | None) -> dict[str, Any]:
    """What one process of one side measures."""
    started = time.perf_counter()
    found = SIDES[side](folder, limit)
    planted = json.loads((folder / "planted.json").read_text())
    counts = {task: count for task, _, count in files(folder, limit)}
    wanted = {
        (task, row) for task, rows in planted.items() for row in rows if row < (counts[task] or row + 1)
    }
    flagged = {(task, row) for task, rows in found["flagged"].items() for row in rows}
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time(),
        "rows_cpu_s": time.process_time() - found["began"],
        "rows": found["rows"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "flagged": len(flagged),
        "planted": len(wanted),
        "planted_found": len(wanted & flagged),
    }


def run(side: str, folder: Path, limit: int | None) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--material", str(folder)]
    command += ["--beside", str(limit)] if limit else ["--beside", "0"]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return result


def show(side: str, one: dict[str, Any]) -> None:
    """A line of the table."""
    print(
        f"{side:20} {one['rows']:>9,} rows  {one['wall_s']:7.1f} s  {one['cpu_s']:7.1f} s of processor time  "
        f"{one['peak_mb']:6,.0f} MB  {one['flagged']:6,} flagged  "
        f"{one['planted_found']:,} of {one['planted']:,} planted",
        flush=True,
    )


def main() -> None:
    """Make the rows, run the rounds, print the table, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("FLAN_DATA"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--beside", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--material", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.material, given.beside or None)))
        return
    if given.data is None:
        parser.error("--data, or FLAN_DATA, names a folder of datasets in hub layout")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_material(given.data, folder, given.rows)
        size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
        print(f"{given.rows:,} training rows, {size / 1e6:,.0f} MB", flush=True)
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(given.rounds):
            for side, so_far in found.items():
                so_far.append(run(side, folder, given.beside))
                show(side, so_far[-1])
        whole = run("flan", folder, None)
    show("flan", whole)
    rates = [
        plain["rows_cpu_s"] / plain["rows"] / (flan["rows_cpu_s"] / flan["rows"])
        for plain, flan in zip(found["plain_set_of_ngrams"], found["flan"], strict=True)
    ]
    ratios = {"plain_set_of_ngrams": round(statistics.median(rates), 2)}
    own = {name: round(value, 1) for name, value in whole.items()}
    settings = {"rows": given.rows, "bytes": size, "beside": given.beside, "rounds": given.rounds,
                "test_sets": NUM_TEST_SETS, "words": WORDS}  # fmt: skip
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    line = {"benchmark": "leakage", "ratios": ratios, "flan": own, "settings": settings, "machine": machine}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
