"""How fast options are ranked: FLAN's scorer and lm-evaluation-harness, on the same model and examples.

    python benchmarks/scoring.py --lm-eval PYTHON [--options 2 4 10] [--prompts 60 200 600]
                                 [--precisions fp32 bf16] [--examples 500] [--seconds 10] [--smoke]
    python benchmarks/scoring.py --lm-eval PYTHON --task marble_counts
    python benchmarks/scoring.py --whole ranked written

An example is a prompt of so many tokens and so many options of five; one-token options are cells apart
(`4x200_one_token`): the harness reads their prompt once for all of them. Words are drawn at random, a word is a token.
Both sides begin with the text and end with the sum of each option's log-probabilities:

    flan       tokenises context and option together, then `score_options`
    lm_eval    `HFLM.loglikelihood`, 64 requests at a time: what its automatic mode finds on a CPU, where it begins
               and stops for want of memory alone; `--batch 0` lets it search, untimed

PYTHON is an interpreter that has the harness (`pip install lm_eval==0.4.13 torch==2.13.0 transformers==5.23.0`, in a
virtual environment of its own). Without it only FLAN's rates are measured. Both sides live in one process each and take
the examples of a cell in turns, chunk by chunk, so what else the machine does hits both alike: 64 requests of the
harness are a chunk. A cell ends with its examples, or with the chunk in which the harness has computed for `--seconds`;
the table says how many examples that were. The rates are examples a second of processor time, one thread each. In fp32
the choices of both sides must be the same, or the run fails.

With `--task` the examples are rows of a task of the self-made collection, asked through its first template without an
OPTIONS block, by `preset:nano` with a byte-level BPE: texts in which words fall into tokens, and tokens span borders.

With `--whole` an evaluation is carried out by two ranks as `flan evaluate` does it, from the start of their processes
to the end: `preset:nano`, untrained, in bf16, on tasks of made-up words with four options each.

    ranked     12,500 questions: 25 tasks, five templates, 100 rows, prompts of at most 256 tokens
    written    2,000 answers to such prompts, 32 tokens each: an untrained model does not end before

The last line is JSON: ratios are FLAN's rate over the other's (`lm_eval_4x200_fp32`).
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MODEL = {
    "vocab_size": 16_384, "hidden_size": 512, "intermediate_size": 1_365, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 8,
}  # fmt: skip
"""A Llama of 27 million weights, tied embeddings: the shape of `preset:mini`."""
BATCH_TOKENS = 4_096
"""FLAN's default."""
OPTION_TOKENS = 5
TASK = "task.json"
ALMOST = 1e-3
"""Sums of an example closer than this are a tie: either choice is right."""
CHUNK = 64
"""Requests of the harness that are timed at a time: a batch of its."""
ONE_TOKEN_OPTIONS = 4
"""So many, where they have a token each."""


class Whole(NamedTuple):
    """A whole evaluation."""

    tasks: int
    rows: int
    fields: dict[str, Any]
    limit_s: float
    """Within which it should end."""


WHOLE = {
    "ranked": Whole(25, 100, {"scoring": "rank"}, 90.0),
    "written": Whole(4, 100, {"scoring": "generate", "max_new_tokens": 32}, 60.0),
}
TEMPLATES = (
    "{text}\n\nWhich of these is it?\n\n{options_}",
    "Read this:\n{text}\n\nWhat would you call it?\n\n{options_}",
    "{options_}\n\nWhich fits what follows?\n\n{text}",
    "Text: {text}\nKind:",
    "What is this about?\n\n{text}\n\n{options_}\n\nAnswer:",
)


class Cell(NamedTuple):
    """What is asked."""

    options: int
    prompt: int
    precision: str
    option_tokens: int = OPTION_TOKENS
    task: str = ""

    @property
    def name(self) -> str:
        """As the ratios are called."""
        if self.task:
            return f"{self.task}_{self.precision}"
        apart = "" if self.option_tokens == OPTION_TOKENS else "_one_token"
        return f"{self.options}x{self.prompt}{apart}_{self.precision}"


Example = tuple[str, list[str]]
"""A context, and the options as they continue it."""


def examples(cell: Cell, number: int, directory: Path) -> list[Example]:
    """The same at every call."""
    if cell.task:
        found: list[Example] = json.loads((directory / TASK).read_text())
        return found[:number]
    random = np.random.default_rng([cell.options, cell.prompt, cell.option_tokens])

    def words(count: int) -> str:
        return " ".join(f"w{i}" for i in random.integers(3, MODEL["vocab_size"], count))

    return [
        (words(cell.prompt), [f" {words(cell.option_tokens)}" for _ in range(cell.options)])
        for _ in range(number)
    ]


def make_model(directory: Path) -> None:
    """An untrained network whose words are told apart, and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, MODEL["vocab_size"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>").save_pretrained(
        directory
    )
    network = LlamaForCausalLM(
        LlamaConfig(
            **MODEL,
            tie_word_embeddings=True,
            max_position_embeddings=2_048,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(2.0)
    network.save_pretrained(directory)


def make_task(directory: Path, name: str, number: int) -> None:
    """`preset:nano` untrained, a tokenizer of the task's own texts, and the texts."""
    from flan.data.rows import Places, open_rows
    from flan.model.presets import from_preset, train_tokenizer
    from flan.store import Store
    from flan.tasks.render import instance, render
    from flan.tasks.task import load_collection

    task = load_collection("synthetic")[name]
    rows = open_rows(task, "validation", Places(None, Store(directory / "store")))
    template = task.templates[task.answer_templates[0]]
    rendered = [render(instance(task, rows[i]), template, None) for i in range(min(number, len(rows)))]
    texts = [[f"{each.input}\n", [f" {choice}" for choice in each.choices]] for each in rendered]
    (directory / TASK).write_text(json.dumps(texts))
    tokenizer = train_tokenizer((each.input for each in rendered), 600)
    tokenizer.save_pretrained(directory)
    from_preset("preset:nano", tokenizer, 0).save_pretrained(directory)


Scorer = Callable[[list[Example]], list[list[float]]]


def flan_side(directory: Path, precision: str, _: int) -> Scorer:
    """As an evaluation does it."""
    import torch

    from flan.data.tokens import encode_branches
    from flan.model.load import load_model
    from flan.model.scoring import score_options

    model = load_model(directory, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision])

    def score(asked: list[Example]) -> list[list[float]]:
        encoded = [encode_branches(model.tokenizer, context, options) for context, options in asked]
        found = score_options(
            model, [prompt for prompt, _ in encoded], [own for _, own in encoded], batch_tokens=BATCH_TOKENS
        )
        return [[each.logprob for each in row] for row in found]

    return score


def lm_eval_side(directory: Path, precision: str, batch: int) -> Scorer:
    """As its `simple_evaluate` asks a multiple-choice task."""
    import logging

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.disable(logging.WARNING)
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    model = HFLM(pretrained=str(directory), dtype=dtype, device="cpu", batch_size="auto", max_length=1_024)
    longest: dict[int, int] = {}

    def score(asked: list[Example]) -> list[list[float]]:
        length = round(max(len(context.split()) for context, _ in asked), -2)
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=(context, option), idx=i)
            for context, options in asked
            for i, option in enumerate(options)
        ]
        if batch:
            longest[length] = batch
        if length not in longest:
            model.batch_size_per_gpu = "auto"
            model.loglikelihood(requests[:64], disable_tqdm=True)
            longest[length] = model.batch_sizes[0]
        model.batch_size_per_gpu = longest[length]
        sums = iter(found for found, _ in model.loglikelihood(requests, disable_tqdm=True))
        return [[next(sums) for _ in options] for _, options in asked]

    return score


def serve_side(side: str, directory: Path, batch: int) -> None:
    """Take chunks from the standard input until it ends; answer each with a line."""
    import torch

    torch.set_num_threads(1)
    make = {"flan": flan_side, "lm_eval": lm_eval_side}[side]
    scorers: dict[str, Scorer] = {}
    for line in sys.stdin:
        *shape, first, last, is_warm = json.loads(line)
        cell = Cell(*shape)
        if cell.precision not in scorers:
            scorers[cell.precision] = make(directory, cell.precision, batch)
        asked = examples(cell, last, directory)[first:]
        if not is_warm:
            scorers[cell.precision](asked[:1])
        wall, cpu = time.perf_counter(), time.process_time()
        sums = scorers[cell.precision](asked)
        spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps({"sums": sums, **spent}), flush=True)


class Side:
    """One of the two, in its process."""

    def __init__(self, name: str, interpreter: str, directory: Path, batch: int) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        command = [
            interpreter,
            __file__,
            "--side",
            name,
            "--directory",
            str(directory),
            "--batch",
            str(batch),
        ]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, cell: Cell, first: int, last: int) -> dict[str, Any]:
        """What it found for these examples, and what that took."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([*cell, first, last, first > 0]) + "\n")
        self.process.stdin.flush()
        # Libraries may say something of their own first.
        while line := self.process.stdout.readline():
            if line.startswith('{"sums"'):
                found: dict[str, Any] = json.loads(line)
                return found
        sys.exit("a side ended early")


@contextmanager
def sides(interpreters: dict[str, str], directory: Path, batch: int) -> Iterator[dict[str, Side]]:
    """Both, until the block ends."""
    started = {name: Side(name, interpreter, directory, batch) for name, interpreter in interpreters.items()}
    try:
        yield started
    finally:
        for side in started.values():
            assert side.process.stdin is not None
            side.process.stdin.close()
            side.process.wait()


class Measured(NamedTuple):
    """What a cell has given."""

    rates: dict[str, float]
    """Examples a second of processor time, side by side."""
    examples: int


def measure(cell: Cell, asked: dict[str, Side], number: int, seconds: float) -> Measured:
    """Chunk by chunk, each side in turn. Ends the run where fp32 choices differ."""
    requests = cell.options if cell.option_tokens > 1 else 1
    size = max(1, CHUNK // requests) if not cell.task else CHUNK
    cpu_s, wall_s = dict.fromkeys(asked, 0.0), dict.fromkeys(asked, 0.0)
    num_other = last = 0
    while last < number and max(cpu_s.values()) < seconds:
        first, last = last, min(number, last + size)
        sums: dict[str, Any] = {}
        for name, side in asked.items():
            found = side.ask(cell, first, last)
            cpu_s[name] += found["cpu_s"]
            wall_s[name] += found["wall_s"]
            sums[name] = found["sums"]
        if len(sums) == 2:
            pairs = zip(sums["flan"], sums["lm_eval"], strict=True)
            num_other += sum(max(theirs) - theirs[int(np.argmax(ours))] > ALMOST for ours, theirs in pairs)
    if cell.precision == "fp32" and num_other:
        sys.exit(f"{cell.name}: {num_other} of {last} choices differ")
    rates = {name: last / spent for name, spent in cpu_s.items()}
    for name, rate in rates.items():
        print(
            f"{cell.name:22} {name:8} {rate:>8.1f} examples a CPU second  {last / wall_s[name]:>8.1f} a second  "
            f"{num_other} of {last} other choices",
            flush=True,
        )
    return Measured(rates, last)


def make_whole(folder: Path, whole: Whole) -> None:
    """Tasks, their rows in the layout of a hub, and an untrained `preset:nano` with a tokenizer of their words."""
    from flan.card import Lineage
    from flan.model.export import export
    from flan.model.load import contract_of, make_card
    from flan.model.presets import from_preset, train_tokenizer

    random = np.random.default_rng(7)
    sounds = [f"{a}{b}" for a in "bdfgklmnprst" for b in "aeiou"]
    words = np.array(["".join(random.choice(sounds, size)) for size in random.integers(1, 4, 3_000)])

    def text(count: int) -> str:
        return " ".join(random.choice(words, count))

    texts: list[str] = []
    (folder / "tasks").mkdir()
    for number in range(whole.tasks):
        name, labels = f"made_{number}", [text(int(random.integers(1, 6))) for _ in range(4)]
        place = folder / "data" / "hub" / name
        place.mkdir(parents=True)
        sizes = np.minimum(random.lognormal(4.5, 0.5, whole.rows), 200).astype(int)
        rows = [{"text": text(size), "label": int(random.integers(4))} for size in sizes]
        texts += [row["text"] for row in rows]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (place / "validation.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        (place / "meta.json").write_text('{"columns": {}}')
        task = {
            "name": name, "cluster": "sentiment", "origins": [], "metrics": ["accuracy"],
            "source": {"kind": "hub", "id": f"benchmark/{name}", "splits": {"validation": "validation"}},
            "fields": {"text": "text"},
            "answer": {
                "column": "label", "choices": labels, "labels": {str(i): each for i, each in enumerate(labels)},
            },
            "templates": [{"input": each} for each in TEMPLATES],
        }  # fmt: skip
        (folder / "tasks" / f"{name}.yaml").write_text(json.dumps(task))
    tokenizer = train_tokenizer(texts, 4_096)
    network = from_preset("preset:nano", tokenizer, 0)
    nothing = Lineage(base="preset:nano", tasks_seen=(), clusters_seen=())
    card = make_card("nano", network, contract_of(network.config, tokenizer), nothing)
    export(network, tokenizer, card, folder / "model")


def run_whole(kind: str, folder: Path) -> dict[str, float]:
    """What a whole evaluation takes."""
    from flan import rundir
    from flan.evaluate.samples import SAMPLES, read_samples
    from flan.local import prepare, watch
    from flan.spec import parse_spec

    whole = WHOLE[kind]
    make_whole(folder, whole)
    spec = parse_spec(
        {
            "kind": "evaluate", "name": kind, "model": str(folder / "model"), "precision": "bf16",
            "tasks": [f"made_{number}" for number in range(whole.tasks)], "input_length": 256,
            "resources": {"ranks": 2, "device": "cpu"},
        } | whole.fields
    )  # fmt: skip
    directory = prepare(spec, folder / "out", folder / "data", folder / "tasks")
    cpu, wall = os.times(), time.perf_counter()
    watch(directory)
    wall_s, after = time.perf_counter() - wall, os.times()
    cpu_s = sum(after[2:4]) - sum(cpu[2:4])
    stages = [
        event
        for event in rundir.read_events(directory / rundir.EVENTS, after=0)
        if event.type == "stage.changed"
    ]
    asked_s = next(each.at for each in stages if each.data["stage"] == "finalize") - next(
        each.at for each in stages if each.data["stage"] == "evaluate"
    )
    number = sum(1 for _ in read_samples(directory / SAMPLES))
    print(
        f"whole_{kind:16} {number} questions in {wall_s:.1f} s, of which {asked_s:.1f} s asking and answering; "
        f"{cpu_s:.1f} CPU seconds of two ranks; should end within {whole.limit_s:.0f} s",
        flush=True,
    )
    return {"questions": number, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1)}


class Compared(NamedTuple):
    """By cell, what both sides have done."""

    ratios: dict[str, float]
    rates: dict[str, dict[str, float]]
    examples: dict[str, int]


def compare(given: argparse.Namespace) -> Compared:
    """All cells, one after the other."""
    interpreters = {"flan": sys.executable}
    if given.lm_eval:
        interpreters["lm_eval"] = given.lm_eval
    else:
        print("no --lm-eval PYTHON: the harness is not measured, and there are no ratios")
    cells = [
        Cell(options, prompt, precision, tokens)
        for precision in given.precisions
        for prompt in given.prompts
        for options, tokens in [*((each, OPTION_TOKENS) for each in given.options), (ONE_TOKEN_OPTIONS, 1)]
    ]
    ratios, rates, numbers = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        if given.task:
            make_task(Path(folder), given.task, given.examples)
            given.examples = len(examples(Cell(0, 0, "fp32", task=given.task), given.examples, Path(folder)))
            cells = [Cell(0, 0, precision, task=given.task) for precision in given.precisions]
        else:
            make_model(Path(folder))
        with sides(interpreters, Path(folder), given.batch) as asked:
            for cell in cells:
                rate, numbers[cell.name] = measure(cell, asked, given.examples, given.seconds)
                rates[cell.name] = {name: round(each, 2) for name, each in rate.items()}
                if "lm_eval" in rate:
                    ratios[f"lm_eval_{cell.name}"] = round(rate["flan"] / rate["lm_eval"], 2)
    return Compared(ratios, rates, numbers)


def main() -> None:
    """Run all cells and print the table, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lm-eval", metavar="PYTHON")
    parser.add_argument(
        "--options", nargs="*", type=int, default=[2, 4, 10], help="none: those of one token alone"
    )
    parser.add_argument("--prompts", nargs="+", type=int, default=[60, 200, 600])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the harness, for a cell")
    parser.add_argument(
        "--batch", type=int, default=64, help="of the harness; 0: what its automatic mode finds"
    )
    parser.add_argument("--whole", nargs="+", choices=list(WHOLE), default=[], help="whole evaluations alone")
    parser.add_argument("--task", metavar="NAME", help="rows of a task of the self-made collection")
    parser.add_argument("--smoke", action="store_true", help="24 examples, 4 options, prompts of 60 and 200")
    parser.add_argument("--side", choices=["flan", "lm_eval"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        serve_side(given.side, given.directory, given.batch)
        return
    if given.smoke:
        given.options, given.prompts, given.examples, given.seconds = [4], [60, 200], 24, 2.0
    found = Compared({}, {}, {})
    whole = {}
    for kind in given.whole:
        with tempfile.TemporaryDirectory() as folder:
            whole[kind] = run_whole(kind, Path(folder))
    if not whole:
        found = compare(given)
    settings = {
        "model": MODEL, "examples": found.examples, "seconds": given.seconds, "batch_tokens": BATCH_TOKENS,
        "lm_eval_batch": given.batch or "auto",
        "threads": 1, "unit": "examples per CPU second",
    }  # fmt: skip
    machine = {
        "cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    print(
        json.dumps(
            {
                "benchmark": "scoring",
                "ratios": found.ratios,
                "rates": found.rates,
                "whole": whole,
                "settings": settings,
                "machine": machine,
            }
        )
    )


if __name__ == "__main__":
    main()
