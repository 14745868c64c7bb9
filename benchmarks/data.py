"""How fast examples become packed arrays: FLAN's engine, seqio's packing, and TRL's packed dataset, on the same rows.

    python benchmarks/data.py --data FOLDER --tokenizer FOLDER [--seqio PYTHON] [--trl PYTHON]
                              [--rounds 3] [--examples 6000]

The FOLDER of --data is FLAN_DATA; that of --tokenizer holds a SentencePiece model as `tokenizer.model`, which all
sides use. PYTHON are interpreters with virtual environments of their own: `pip install seqio tensorflow-cpu`, and
`pip install trl torch`. A side whose interpreter is not given is left out. Each round runs every side once, in turn,
in a process of its own.

FLAN starts from rows on disk: it draws, reads, renders, encodes and packs. Its peers are handed the texts that come of
that: they only encode and pack. A decoder's packs have 1,280 places, an encoder-decoder's 1,024 and 256. Tokens are
those in packs; a core's second is one of processor time, in whatever thread, without imports. The first pack counts
from the start of the process, imports included.

The last line is JSON: ratios of tokens a second and core (FLAN's over the other's), and figures of every side.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTED = time.time()
SIDES = {"flan": ("decoder", "encoder_decoder"), "seqio": ("decoder", "encoder_decoder"), "trl": ("decoder",)}
LENGTHS = {"decoder": (1_280,), "encoder_decoder": (1_024, 256)}
BETWEEN, BREAK = "\x1f", "\x1e"
"""Between input and target of a line, and for a line break inside of either."""
END = 2  # </s> of Llama's SentencePiece model
Fill = tuple[int, ...]
"""Tokens of a pack, by side."""


def flan_packs(given: dict[str, Any], architecture: str) -> Iterator[Fill]:
    """Packs of FLAN, from rows on disk."""
    from flan.card import Contract
    from flan.data.batches import Steps, StreamState
    from flan.data.encoding import LocalEncoder
    from flan.data.tokens import tokenizer_digest

    yield ()
    spec, tasks, rows = flan_material(given)
    tokenizer = flan_tokenizer(given)
    contract = Contract(
        architecture=architecture,
        tokenizer=tokenizer_digest(tokenizer),
        prefix_ids=() if architecture == "decoder" else (0,),
        separator_ids=(END,),
        end_ids=(END,),
    )
    encoder = LocalEncoder(spec, tasks, rows, tokenizer, contract)
    steps = Steps(spec, contract, encoder, encoder.digest(), StreamState())
    while steps.state().next_draw < given["examples"]:
        packs = steps.make().packs
        names = [name for name in packs._fields if name.endswith("segment_ids")]
        yield from zip(*((getattr(packs, name) > 0).sum(axis=1).tolist() for name in names), strict=True)


def flan_tokenizer(given: dict[str, Any]) -> Any:
    """The SentencePiece model as the library of tokenizers has it."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(given["tokenizer_json"])


def flan_material(given: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The spec, and tasks and rows of the collection as far as their rows are there."""
    from flan.data.rows import EmptyDataset, MissingRows, Places, open_rows
    from flan.spec import TuneSpec
    from flan.store import Store
    from flan.tasks.task import load_collection

    places, rows = Places(Path(given["data"]), Store(Path(given["store"]))), {}
    tasks = {name: task for name, task in load_collection("flan").items() if "train" in task.source.splits}
    for name, task in tasks.items():
        try:
            rows[name] = open_rows(task, "train", places)
        except (MissingRows, EmptyDataset):
            continue
    return TuneSpec(name="benchmark", base="preset:nano"), {name: tasks[name] for name in rows}, rows


def seqio_packs(given: dict[str, Any], architecture: str) -> Iterator[Fill]:
    """Packs of seqio's `trim_and_pack_dataset`, from texts."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import seqio
    import tensorflow as tf

    yield ()
    vocabulary = seqio.SentencePieceVocabulary(given["tokenizer_model"])
    names = ("inputs", "targets")[: len(LENGTHS[architecture])]

    def encode(line: Any) -> dict[str, Any]:
        texts = tf.strings.split(tf.strings.regex_replace(line, BREAK, "\n"), BETWEEN)
        sides = [tf.concat([vocabulary.encode_tf(texts[i]), [END]], 0) for i in (0, 1)]
        return dict(zip(names, sides if len(names) == 2 else [tf.concat(sides, 0)], strict=True))

    encoded = tf.data.TextLineDataset(given["texts"]).map(encode)
    lengths = dict(zip(names, LENGTHS[architecture], strict=True))
    for pack in seqio.trim_and_pack_dataset(encoded, lengths).as_numpy_iterator():
        yield tuple(int((pack[f"{name}_segment_ids"] > 0).sum()) for name in names)


def trl_packs(given: dict[str, Any], _: str) -> Iterator[Fill]:
    """Packs of TRL's `pack_dataset`, best fit decreasing, over a dataset that `map` has encoded."""
    from datasets import Dataset
    from trl import pack_dataset

    yield ()
    tokenizer = flan_tokenizer(given)
    # As bytes: read as text, a carriage return inside of a row would end its line.
    lines = Path(given["texts"]).read_bytes().decode().split("\n")
    pairs = Dataset.from_dict({"pair": [line.replace(BREAK, "\n").split(BETWEEN) for line in lines]})

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        sides = [
            tokenizer.encode_batch_fast([pair[i] for pair in batch["pair"]], add_special_tokens=False)
            for i in (0, 1)
        ]
        ids = [[*one.ids, END, *other.ids, END] for one, other in zip(*sides, strict=True)]
        return {"input_ids": ids}

    encoded = pairs.map(encode, batched=True, remove_columns=["pair"])
    for pack in pack_dataset(encoded, LENGTHS["decoder"][0], "bfd").with_format("numpy"):
        yield (len(pack["input_ids"]),)


PACKS = {"flan": flan_packs, "seqio": seqio_packs, "trl": trl_packs}


def measure(side: str, architecture: str, given: dict[str, Any]) -> dict[str, Any]:
    """What one process of one side measures."""
    packs = PACKS[side](given, architecture)
    next(packs)
    started, first_s, fills = processor_s(), 0.0, []
    for fill in packs:
        first_s = first_s or time.time() - STARTED
        fills.append(fill)
    seconds = processor_s() - started
    # The last packs are those that nothing was left for.
    kept = fills[: len(fills) * 9 // 10]
    return {
        "rate": sum(map(sum, fills)) / seconds,
        "first_s": round(first_s, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "fill": [
            round(sum(fill) / len(kept) / full, 4)
            for fill, full in zip(zip(*kept, strict=True), LENGTHS[architecture], strict=True)
        ],
    }


def processor_s() -> float:
    """Processor time of this process and of those it has waited for, in seconds."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def prepare(folder: Path, data: Path, tokenizer: Path, examples: int) -> dict[str, Any]:
    """What every side is given; the texts are those of FLAN's first draws that fit."""
    from transformers import AutoTokenizer

    from flan.data.examples import Examples

    given: dict[str, Any] = {
        "data": str(data),
        "store": str(folder / "store"),
        "tokenizer_model": str(tokenizer / "tokenizer.model"),
        "tokenizer_json": str(folder / "tokenizer.json"),
        "texts": str(folder / "texts"),
        "examples": examples,
    }
    AutoTokenizer.from_pretrained(tokenizer).backend_tokenizer.save(given["tokenizer_json"])
    drawn = Examples(*flan_material(given))
    pairs = [drawn.rendered(number)[:2] for number in range(examples)]
    lines = [BETWEEN.join(pair).replace("\n", BREAK) for pair in pairs]
    Path(given["texts"]).write_bytes("\n".join(lines).encode())
    return given


def run(side: str, architecture: str, interpreter: str, material: Path) -> dict[str, Any]:
    """`measure` in a process of its own."""
    arguments = ["--side", side, "--architecture", architecture, "--material", str(material)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [interpreter, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Run the rounds and print the table, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--seqio", metavar="PYTHON")
    parser.add_argument("--trl", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=6_000)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--architecture", choices=LENGTHS, help=argparse.SUPPRESS)
    parser.add_argument("--material", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(measure(asked.side, asked.architecture, json.loads(asked.material.read_text()))))
        return
    if asked.data is None or asked.tokenizer is None or not (asked.tokenizer / "tokenizer.model").is_file():
        sys.exit("say where rows are (--data) and a folder with tokenizer.model (--tokenizer)")
    interpreters = {"flan": sys.executable, "seqio": asked.seqio, "trl": asked.trl}
    for side in (side for side, interpreter in interpreters.items() if interpreter is None):
        print(f"{side} is left out: give the interpreter of an environment that has it with --{side} PYTHON")
    cells = [(side, each) for side in SIDES if interpreters[side] for each in SIDES[side]]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {cell: [] for cell in cells}
    with tempfile.TemporaryDirectory() as folder:
        material = Path(folder) / "material.json"
        material.write_text(json.dumps(prepare(Path(folder), asked.data, asked.tokenizer, asked.examples)))
        for _ in range(asked.rounds):
            for side, architecture in cells:
                found[side, architecture].append(run(side, architecture, interpreters[side], material))
    report(found, {"rounds": asked.rounds, "examples": asked.examples, "lengths": LENGTHS})


def report(found: dict[tuple[str, str], list[dict[str, Any]]], settings: dict[str, Any]) -> None:
    """The table, and the line of JSON."""
    figures: dict[str, Any] = {}
    for (side, architecture), rounds in found.items():
        rate = statistics.median(each["rate"] for each in rounds)
        first_s, peak_mb = (min(each[name] for each in rounds) for name in ("first_s", "peak_mb"))
        fill = " and ".join(f"{share:.1%}" for share in rounds[0]["fill"])
        print(
            f"{side:6} {architecture:16} {rate:>9,.0f} tokens/s and core, "
            f"first pack after {first_s:6.2f} s, peak {peak_mb:5} MB, full {fill}"
        )
        own = {"tokens_per_s": round(rate), "first_s": first_s, "peak_mb": peak_mb, "fill": rounds[0]["fill"]}
        figures[f"{side}_{architecture}"] = own
    ratios = {
        f"{side}_{architecture}": round(
            statistics.median(
                ours["rate"] / theirs["rate"]
                for ours, theirs in zip(found["flan", architecture], rounds, strict=True)
            ),
            2,
        )
        for (side, architecture), rounds in found.items()
        if side != "flan"
    }
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    print(
        json.dumps(
            {
                "benchmark": "data",
                "ratios": ratios,
                "figures": figures,
                "settings": settings,
                "machine": machine,
            }
        )
    )


if __name__ == "__main__":
    main()
