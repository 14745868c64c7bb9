"""How fast examples become packed arrays: FLAN's engine, seqio's packing, and TRL's packed dataset.

    python benchmarks/data.py --data FOLDER --tokenizer FOLDER [--seqio PYTHON] [--trl PYTHON]
                              [--rounds 3] [--examples 6000]

The FOLDER of --data is FLAN_DATA; that of --tokenizer holds a SentencePiece model as `tokenizer.model`, which all
sides use. PYTHON are interpreters with virtual environments of their own: `pip install seqio tensorflow-cpu`, and
`pip install trl torch`. A side whose interpreter is not given is left out. Each round runs every cell of every side
once, in turn, in a process of its own.

Cells say what a side begins with; packs are what each ends with.

    rows    rows on disk: drawn, read, rendered, encoded and packed. No peer renders, so this has a floor instead.
    texts   the same inputs and targets as text: encoded and packed.
    pack    the same token ids: packed, nothing else, after some were packed to warm up.

Packs have 1,280 places, or 1,024 for inputs and 256 for targets; those of `rows_sides` are as long as the examples
are, which is measured once a run: that counts towards the first pack, and not in the rate. TRL's packs are its table
of ids and lengths, read as arrays: its collator makes positions and labels of them later, which FLAN's and seqio's
packs hold already. seqio packs in the order that examples come, FLAN in a window of them, and TRL sorts all of them.
Tokens are those in packs; a core's second is one of processor time, in whatever thread, without imports. The first
pack counts from the start of the process, imports included, in seconds of processor time and by the clock.

The last line is JSON: ratios of tokens a second and core (FLAN's over the other's), and figures of every cell.
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
CELLS = {
    "flan": ("rows_1280", "rows_sides", "texts_1280", "pack_1280", "pack_1024_256"),
    "seqio": ("texts_1280", "pack_1280", "pack_1024_256"),
    "trl": ("texts_1280", "pack_1280"),
}
LENGTHS = {"1280": (1_280,), "1024_256": (1_024, 256)}
WARMING = 400
"""Ids of so many texts are packed before a packing is measured."""
FLOOR = 250_000
"""Tokens a second and core that FLAN is to make of rows on disk, at least."""
BETWEEN, BREAK = "\x1f", "\x1e"
"""Between input and target of a line, and for a line break inside of either."""
END = 2  # </s> of Llama's SentencePiece model
ENCODED_TOGETHER = 64
Fill = tuple[int, ...]
"""Tokens of a pack, by side."""
Pairs = Iterator[tuple[Any, Any]]
"""Ids of input and target, the end of both included."""


def flan_packs(given: dict[str, Any], begin: str, lengths: str) -> Iterator[Fill]:
    """Packs of FLAN, from rows on disk, from texts or from ids."""
    if begin == "rows":
        yield from flan_steps(given, lengths)
        return
    from flan.data.packing import pack_batch, size
    from flan.data.tokens import Tokens
    from flan.data.window import Lengths, Window

    sides = LENGTHS[lengths]
    contract = flan_contract("decoder" if len(sides) == 1 else "encoder_decoder")
    longest = Lengths(sides[0], sides[1] if len(sides) == 2 else 0)
    window, waiting = Window(longest), dict[int, Tokens]()

    def take() -> Fill:
        pack = window.take()
        # As arrays at once: what a step does for some packs together.
        pack_batch([[waiting.pop(number) for number in pack.examples]], longest, contract)
        return pack.used[: len(sides)]

    pairs = encoded_texts(given) if begin == "texts" else given_ids(given)
    yield ()
    for number, pair in enumerate(pairs):
        waiting[number] = Tokens(*pair)
        window.add(number, size(contract, waiting[number]))
        while window.is_full:
            yield take()
    while window.waiting:
        yield take()


def flan_steps(given: dict[str, Any], lengths: str) -> Iterator[Fill]:
    """Packs of the steps of a stream, sides measured where they are not 1,280 in all."""
    from flan.data.batches import Steps, StreamState
    from flan.data.encoding import LocalEncoder
    from flan.data.examples import Examples
    from flan.data.sides import with_measured_sides

    if lengths == "1280":
        yield ()
    spec, tasks, rows = flan_material(given)
    tokenizer = flan_tokenizer(given)
    contract = flan_contract("decoder" if lengths == "1280" else "encoder_decoder")
    if lengths == "sides":
        spec = with_measured_sides(spec, Examples(spec, tasks, rows), tokenizer, contract)
        yield ()
    encoder = LocalEncoder(spec, tasks, rows, tokenizer, contract)
    steps = Steps(spec, contract, encoder, encoder.digest(), StreamState())
    while steps.state().next_draw < given["examples"]:
        packs = steps.make().packs
        arrays = [array for name, array in packs._asdict().items() if name.endswith("segment_ids")]
        LENGTHS[lengths] = tuple(array.shape[1] for array in arrays)
        yield from zip(*((array > 0).sum(axis=1).tolist() for array in arrays), strict=True)


def flan_contract(architecture: str) -> Any:
    """How FLAN puts ids together."""
    from flan.card import Contract

    return Contract(
        architecture=architecture,
        tokenizer="0" * 64,
        prefix_ids=() if architecture == "decoder" else (0,),
        separator_ids=(END,),
        end_ids=(END,),
    )


def encoded_texts(given: dict[str, Any]) -> Pairs:
    """The texts as ids, by the library of tokenizers."""
    import numpy as np

    tokenizer, pairs = flan_tokenizer(given), given_texts(given)
    for first in range(0, len(pairs), ENCODED_TOGETHER):
        texts = [text for pair in pairs[first : first + ENCODED_TOGETHER] for text in pair]
        found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [np.array([*each.ids, END], np.int32) for each in found]
        yield from zip(ids[::2], ids[1::2], strict=True)


def given_texts(given: dict[str, Any]) -> list[list[str]]:
    """Inputs and targets."""
    # As bytes: read as text, a carriage return inside of a row would end its line.
    lines = Path(given["texts"]).read_bytes().decode().split("\n")
    return [line.replace(BREAK, "\n").split(BETWEEN) for line in lines]


def given_ids(given: dict[str, Any]) -> Pairs:
    """The same as ids."""
    import numpy as np

    sides = np.split(np.load(given["ids"]), np.load(given["ends"])[:-1])[: given.get("first")]
    return zip(sides[::2], sides[1::2], strict=True)


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


def seqio_packs(given: dict[str, Any], begin: str, lengths: str) -> Iterator[Fill]:
    """Packs of seqio's `trim_and_pack_dataset`, from texts or ids."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np
    import seqio
    import tensorflow as tf

    names = ("inputs", "targets")[: len(LENGTHS[lengths])]
    vocabulary = seqio.SentencePieceVocabulary(given["tokenizer_model"])

    def named(sides: Any) -> dict[str, Any]:
        return dict(zip(names, sides if len(names) == 2 else [tf.concat(sides, 0)], strict=True))

    def encode(line: Any) -> dict[str, Any]:
        texts = tf.strings.split(tf.strings.regex_replace(line, BREAK, "\n"), BETWEEN)
        return named([tf.concat([vocabulary.encode_tf(texts[i]), [END]], 0) for i in (0, 1)])

    if begin == "texts":
        encoded = tf.data.TextLineDataset(given["texts"]).map(encode)
    else:
        sides = [
            tf.ragged.constant([each.tolist() for each in side], tf.int32)
            for side in zip(*given_ids(given), strict=True)
        ]
        encoded = tf.data.Dataset.from_tensor_slices(tuple(sides)).map(lambda *pair: named(pair))
    longest = dict(zip(names, LENGTHS[lengths], strict=True))
    yield ()
    for pack in seqio.trim_and_pack_dataset(encoded, longest).as_numpy_iterator():
        yield tuple(int(np.count_nonzero(pack[f"{name}_segment_ids"])) for name in names)


def trl_packs(given: dict[str, Any], begin: str, lengths: str) -> Iterator[Fill]:
    """Packs of TRL's `pack_dataset`, best fit decreasing, over a dataset of ids, or one that `map` has encoded."""
    import numpy as np
    from datasets import Dataset
    from trl import pack_dataset

    tokenizer = flan_tokenizer(given)

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        sides = [
            tokenizer.encode_batch_fast([pair[i] for pair in batch["pair"]], add_special_tokens=False)
            for i in (0, 1)
        ]
        ids = [[*one.ids, END, *other.ids, END] for one, other in zip(*sides, strict=True)]
        return {"input_ids": ids}

    if begin == "texts":
        yield ()
        pairs = Dataset.from_dict({"pair": given_texts(given)})
        encoded = pairs.map(encode, batched=True, remove_columns=["pair"])
    else:
        encoded = Dataset.from_dict({"input_ids": [np.concatenate(pair) for pair in given_ids(given)]})
        yield ()
    for pack in pack_dataset(encoded, LENGTHS[lengths][0], "bfd").with_format("numpy"):
        yield (len(pack["input_ids"]),)


PACKS = {"flan": flan_packs, "seqio": seqio_packs, "trl": trl_packs}


def measure(side: str, cell: str, given: dict[str, Any]) -> dict[str, Any]:
    """What one process of one side measures in one cell."""
    begin, _, lengths = cell.partition("_")
    if begin == "pack":
        for _ in PACKS[side](given | {"first": WARMING}, begin, lengths):
            pass
    packs = PACKS[side](given, begin, lengths)
    next(packs)
    started, first, fills = processor_s(), None, []
    for fill in packs:
        first = first or (time.time() - STARTED, processor_s())
        fills.append(fill)
    seconds = processor_s() - started
    # The last packs are those that nothing was left for.
    kept, full = fills[: len(fills) * 9 // 10], LENGTHS[lengths]
    return {
        "rate": sum(map(sum, fills)) / seconds,
        "first_s": [round(each, 2) for each in first or ()] if begin == "rows" else None,
        "peak_mb": peak_mb(),
        "lengths": full,
        "fill": [
            round(sum(fill) / len(kept) / n, 4) for fill, n in zip(zip(*kept, strict=True), full, strict=True)
        ],
    }


def peak_mb() -> int:
    """Most memory that this process has held; `getrusage` would count that of the one it was started by."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024


def processor_s() -> float:
    """Processor time of this process and of those it has waited for, in seconds."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def prepare(folder: Path, data: Path, tokenizer: Path, examples: int) -> dict[str, Any]:
    """What every side is given: the texts of FLAN's first draws, and the ids of those that fit."""
    import numpy as np
    from transformers import AutoTokenizer

    from flan.data.examples import Examples
    from flan.data.tokens import Fitted

    names = {
        "store": "store",
        "tokenizer_json": "tokenizer.json",
        "texts": "texts",
        "ids": "ids.npy",
        "ends": "ends.npy",
    }
    given: dict[str, Any] = {name: str(folder / file) for name, file in names.items()}
    given |= {"data": str(data), "tokenizer_model": str(tokenizer / "tokenizer.model"), "examples": examples}
    AutoTokenizer.from_pretrained(tokenizer).backend_tokenizer.save(given["tokenizer_json"])
    drawn = Examples(*flan_material(given))
    pairs, sides = [], []
    for each in drawn.fitted(range(examples), flan_tokenizer(given), flan_contract("decoder")):
        if isinstance(each, Fitted):
            sides += each.tokens
            if not each.was_cut:
                pairs.append(each.rendered[:2])
    lines = [BETWEEN.join(pair).replace("\n", BREAK) for pair in pairs]
    Path(given["texts"]).write_bytes("\n".join(lines).encode())
    np.save(given["ids"], np.concatenate(sides))
    np.save(given["ends"], np.cumsum([len(each) for each in sides]))
    return given


def run(side: str, cell: str, interpreter: str, material: Path) -> dict[str, Any]:
    """`measure` in a process of its own."""
    arguments = ["--side", side, "--cell", cell, "--material", str(material)]
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
    parser.add_argument(
        "--lengths", type=Path, help="write input and target tokens of each example, for train.py"
    )
    parser.add_argument("--side", choices=CELLS, help=argparse.SUPPRESS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--material", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(measure(asked.side, asked.cell, json.loads(asked.material.read_text()))))
        return
    if asked.data is None or asked.tokenizer is None or not (asked.tokenizer / "tokenizer.model").is_file():
        sys.exit("say where rows are (--data) and a folder with tokenizer.model (--tokenizer)")
    interpreters = {"flan": sys.executable, "seqio": asked.seqio, "trl": asked.trl}
    for side in (side for side, interpreter in interpreters.items() if interpreter is None):
        print(f"{side} is left out: give the interpreter of an environment that has it with --{side} PYTHON")
    cells = [(side, each) for side in CELLS if interpreters[side] for each in CELLS[side]]
    cells.sort(key=lambda cell: cell[1])
    found: dict[tuple[str, str], list[dict[str, Any]]] = {cell: [] for cell in cells}
    with tempfile.TemporaryDirectory() as folder:
        material = Path(folder) / "material.json"
        given = prepare(Path(folder), asked.data, asked.tokenizer, asked.examples)
        material.write_text(json.dumps(given))
        if asked.lengths is not None:
            write_lengths(asked.lengths, given)
        for _ in range(asked.rounds):
            for side, cell in cells:
                found[side, cell].append(run(side, cell, interpreters[side], material))
                print(f"{side} {cell}: {found[side, cell][-1]}", file=sys.stderr)
    report(found, {"rounds": asked.rounds, "examples": asked.examples, "floor": FLOOR})


def write_lengths(path: Path, given: dict[str, Any]) -> None:
    """(examples, 2): tokens of input and target of the texts, their ends included; no more than FLAN's limits."""
    import numpy as np

    tokenizer = flan_tokenizer(given)
    lines = Path(given["texts"]).read_bytes().decode().rstrip("\n").split("\n")
    texts = [line.replace(BREAK, "\n").split(BETWEEN) for line in lines]
    lengths = [
        [len(tokenizer.encode(text, add_special_tokens=False)) + 1 for text in sides] for sides in texts
    ]
    np.save(path, np.minimum(lengths, LENGTHS["1024_256"]))


def report(found: dict[tuple[str, str], list[dict[str, Any]]], settings: dict[str, Any]) -> None:
    """The table, and the line of JSON."""
    figures: dict[str, Any] = {}
    for (side, cell), rounds in found.items():
        rate, last = statistics.median(each["rate"] for each in rounds), rounds[-1]
        peak_mb = min(each["peak_mb"] for each in rounds)
        own = {
            "tokens_per_s": round(rate),
            "peak_mb": peak_mb,
            "lengths": last["lengths"],
            "fill": last["fill"],
        }
        told = f"{side:6} {cell:14} {rate:>10,.0f} tokens/s and core, peak {own['peak_mb']:5} MB, "
        parts = zip(own["fill"], own["lengths"], strict=True)
        told += "full " + " and ".join(f"{share:.1%} of {n:,}" for share, n in parts)
        if last["first_s"]:
            own["first_s"], own["first_processor_s"] = (
                min(each["first_s"][i] for each in rounds) for i in (0, 1)
            )
            told += (
                f", first pack after {own['first_processor_s']} s of processor, {own['first_s']} s of time"
            )
        figures[f"{side}_{cell}"] = own
        print(told)
    ratios = {
        f"{side}_{cell}": round(
            statistics.median(
                ours["rate"] / theirs["rate"]
                for ours, theirs in zip(found["flan", cell], rounds, strict=True)
            ),
            2,
        )
        for (side, cell), rounds in found.items()
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
