"""How fast a step is: FLAN's engine, TRL's packed `SFTTrainer`, and plain padded batches, on the same rows.

    python benchmarks/train.py [--trl PYTHON] [--models 25m 135m] [--precisions bf16 fp32] [--ranks 1 2] [--rounds 3]

Rows are random token ids. Their lengths are made: inputs lognormal with a mean of 192 tokens (5% have more than
520, none more than 1,023), targets with a mean of 17 (at most 256); eight of them, padded to the longest, fill 42%
of a batch. Or they are those of real rows: `--lengths FILE` is an .npy of (rows, 2), input and target tokens, as
`benchmarks/data.py --lengths FILE` writes it.

All sides train the same Llama from the same weights with AdamW (1e-4, no decay, clipped at 1) on the same rows; one
thread a rank; loss on targets. A run is too short to see all rows: FLAN packs them in their order and TRL's best fit
in its own; the padded batches are those of the rows in their order, a choice that is as full as all of them.

    flan         packs of 1,280 as they come when a run is under way (the first ones hold the longest rows);
                 DeepSpeed's engine and the steps that a run takes, finite checks included
    trl_packed   SFTTrainer with packing (best fit), packs of 1,280; gradient checkpointing off
    padded       a loop over batches of 8 examples, padded to the longest; the network's own loss

Each round runs every side once, in processes of their own. PYTHON is an interpreter that has TRL (`pip install
trl==1.16.0 torch==2.13.0 transformers==5.23.0`, in a virtual environment of its own); without it TRL is left
out, and so are its ratios.

Rates are real tokens, input and target, a second of processor time, all ranks together: other work on the
machine hardly changes them. The rate a second of the clock is reported beside. The last line is JSON: ratios
are FLAN's rate over the other's, medians over the rounds.
"""

import argparse
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

MODELS: dict[str, dict[str, int]] = {
    "25m": {
        "vocab_size": 12_288, "hidden_size": 512, "intermediate_size": 1_408, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 8,
    },
    "135m": {
        "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1_536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3,
    },
}  # fmt: skip
"""Shapes of Llamas with tied embeddings."""
SIDES = ("flan", "trl_packed", "padded")
PACK, PADDED_BATCH = 1_280, 8
NUM_ROWS = 6_000
FIRST_PACKS = 100
"""Of FLAN's side, left out: the window of examples that wait begins with what is hard to place."""
RATE = 1e-4


def rows(lengths: str | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets, ids from 3: 0 is padding, 1 the end."""
    random = np.random.default_rng(0)
    inputs = np.clip(random.lognormal(4.95, 0.8, NUM_ROWS), 8, 1_023).astype(int)
    targets = np.clip(random.lognormal(2.3, 1.0, NUM_ROWS), 1, 255).astype(int)
    if lengths is not None:
        inputs, targets = np.load(lengths)[:NUM_ROWS].T - [[0], [1]]  # the end is added
    smallest = min(shape["vocab_size"] for shape in MODELS.values())
    return [
        (random.integers(3, smallest, num_input, np.int32), np.array([*random.integers(3, smallest, n), 1], np.int32))
        for num_input, n in zip(inputs, targets, strict=True)
    ]  # fmt: skip


def network(model: str) -> Any:
    """The untrained Llama: the same at every rank and side."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            **MODELS[model],
            tie_word_embeddings=True,
            max_position_embeddings=2_048,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            attn_implementation="sdpa",
        )
    )


class Clock:
    """What the timed steps took and did. The first step warms up."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self.tokens = self.targets = 0

    def count(self, tokens: int, targets: int) -> None:
        """A micro-batch has gone through."""
        if self.steps:
            self.tokens += tokens
            self.targets += targets

    def step(self) -> None:
        """A step has ended."""
        self.steps.append((time.perf_counter(), time.process_time()))

    def result(self) -> dict[str, float]:
        """Of this rank."""
        (wall, cpu), (last_wall, last_cpu) = self.steps[0], self.steps[-1]
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "wall_s": last_wall - wall, "cpu_s": last_cpu - cpu, "tokens": self.tokens,
            "targets": self.targets, "peak_mb": peak_mb,
        }  # fmt: skip


def flan_side(arguments: argparse.Namespace, clock: Clock) -> None:
    """As a run does it, from packs on."""
    from flan.card import Contract
    from flan.data.batches import StepBatch
    from flan.data.packing import pack_batch, size
    from flan.data.tokens import Tokens
    from flan.data.window import Lengths, Window
    from flan.spec import Optimizer, TuneSpec
    from flan.train.compiled import compile_layers
    from flan.train.objective import Objective
    from flan.train.ranks import meet, process_group
    from flan.train.saver import Writing
    from flan.train.step import Told, accumulate, local_batches
    from flan.train.zero import make_engine

    class OneTask:
        """Of each draw it is said that it comes from the one task there is."""

        def task_ids(self, batch: StepBatch) -> np.ndarray:
            return np.zeros(batch.packs[0].shape, np.int64)

    ranks = meet("cpu")
    contract = Contract.model_construct(architecture="decoder", prefix_ids=())
    lengths = Lengths(PACK, 0)
    examples = [Tokens(*row) for row in rows(arguments.lengths)]
    spec = TuneSpec(
        name="benchmark",
        base="benchmark",
        tokens_per_step=PACK * arguments.packs,
        input_length=PACK - 256,
        precision=arguments.precisions[0],
        optimizer=Optimizer(name="adamw", learning_rate=RATE, gradient_clip=1.0),
        compile=arguments.compile,
    )

    def packs() -> Iterator[list[int]]:
        window, following = Window(lengths), iter(range(len(examples)))
        while True:
            while not window.is_full:
                draw = next(following)
                window.add(draw, size(contract, examples[draw]))
            yield list(window.take().examples)

    filled = islice(packs(), FIRST_PACKS, None)
    llama = network(arguments.models[0])
    if arguments.compile:
        compile_layers(llama)
    with process_group(ranks):
        engine = make_engine(Objective(llama, spec.precision), spec, ranks.world_size)
        engine.train()
        for _ in range(arguments.steps + 1):
            draws = tuple(tuple(each) for each in islice(filled, arguments.packs))
            batch = StepBatch(
                packs=pack_batch([[examples[i] for i in each] for each in draws], lengths, contract),
                target_tokens=sum(len(examples[i].target_ids) for each in draws for i in each),
                num_tokens=sum(sum(size(contract, examples[i])) for each in draws for i in each),
                draws=draws,
            )
            micro_batches = local_batches(batch, OneTask(), ranks, spec.micro_batch)  # type: ignore[arg-type]
            result = accumulate(
                engine, ranks, micro_batches, batch.target_tokens, 1, Told("run", Writing(0, 0, 0))
            )
            assert result.is_finite
            engine.step()
            for each in micro_batches:
                clock.count(int((each["segment_ids"] > 0).sum()), int(each["loss_weights"].sum()))
            clock.step()


def trl_packed_side(arguments: argparse.Namespace, clock: Clock) -> None:
    """As its manual says."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step()

    class Counting(SFTTrainer):
        def training_step(self, network: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            clock.count(inputs["input_ids"].numel(), int((inputs["labels"] != -100).sum()))
            return super().training_step(network, inputs, *rest)

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        Counting(
            model=network(arguments.models[0]),
            args=SFTConfig(
                output_dir=folder,
                packing=True,
                packing_strategy="bfd",
                max_length=PACK,
                completion_only_loss=True,
                per_device_train_batch_size=1,
                gradient_accumulation_steps=arguments.packs // world_size,
                max_steps=arguments.steps + 1,
                learning_rate=RATE,
                lr_scheduler_type="constant",
                max_grad_norm=1.0,
                bf16=arguments.precisions[0] == "bf16",
                use_cpu=True,
                gradient_checkpointing=False,
                ddp_backend="gloo" if world_size > 1 else None,
                report_to="none",
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(
                [
                    {
                        "input_ids": [*map(int, given), *map(int, wanted)],
                        "completion_mask": [0] * len(given) + [1] * len(wanted),
                    }
                    for given, wanted in rows(arguments.lengths)
                ]
            ),
            processing_class=tokenizer,
            callbacks=[Watch()],
        ).train()  # fmt: skip


def padded_side(arguments: argparse.Namespace, clock: Clock) -> None:
    """The loop of a first tutorial; gradients averaged over ranks."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    model: Any = network(arguments.models[0])
    if world_size > 1:
        distributed.init_process_group("gloo")
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    # A batch of eight examples is about a pack.
    batches = iter(
        _batches(rows(arguments.lengths), (arguments.steps + 1) * arguments.packs)[rank::world_size]
    )
    for _ in range(arguments.steps + 1):
        for i in range(arguments.packs // world_size):
            if i == 0:
                optimizer.zero_grad()
            chosen = next(batches)
            longest = max(len(given) + len(wanted) for given, wanted in chosen)
            ids = torch.zeros(PADDED_BATCH, longest, dtype=torch.long)
            mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for row, (given, wanted) in enumerate(chosen):
                end = len(given) + len(wanted)
                ids[row, :end] = torch.from_numpy(np.concatenate([given, wanted]))
                mask[row, :end] = 1
                labels[row, len(given) : end] = ids[row, len(given) : end]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.precisions[0] == "bf16"):
                loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
            (loss / (arguments.packs // world_size)).backward()
            clock.count(int(mask.sum()), int((labels != -100).sum()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        clock.step()


def _batches(examples: list[Any], count: int) -> list[list[Any]]:
    """`count` of all batches of the rows as they come, so chosen that they are as full as all of them.

    A few batches in a row are fuller or emptier than the rest by a tenth and more; these are spread evenly over
    all of them by how full they are, and shuffled.
    """
    batches = [
        examples[i : i + PADDED_BATCH] for i in range(0, len(examples) - PADDED_BATCH + 1, PADDED_BATCH)
    ]

    def fill(batch: list[Any]) -> float:
        sizes = [len(given) + len(wanted) for given, wanted in batch]
        return sum(sizes) / max(sizes)

    spread = sorted(batches, key=fill)[len(batches) // (2 * count) :: len(batches) // count][:count]
    return [spread[i] for i in np.random.default_rng(0).permutation(count)]


def run(
    side: str, interpreter: str, model: str, precision: str, num_ranks: int, given: argparse.Namespace
) -> dict[str, Any]:
    """One side, once: rates and peak memory, over its ranks."""  # fmt: skip
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [interpreter, __file__, "--side", side, "--models", model, "--precisions", precision]
    command += ["--steps", str(given.steps), "--packs", str(given.packs)]
    command += ["--compile"] if given.compile else []
    command += ["--lengths", given.lengths] if given.lengths else []
    processes = []
    for rank in range(num_ranks):
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "HF_HUB_OFFLINE": "1",
        }
        environment |= {"TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        if num_ranks > 1:
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
            environment |= {
                "LOCAL_WORLD_SIZE": str(num_ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        processes.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    spoken = [process.communicate() for process in processes]
    for process, (_, said) in zip(processes, spoken, strict=True):
        if process.returncode != 0:
            sys.exit(f"{side} failed:\n{said[-3000:]}")
    found = [json.loads(printed.splitlines()[-1]) for printed, _ in spoken]
    tokens, cpu_s = sum(each["tokens"] for each in found), sum(each["cpu_s"] for each in found)
    wall_s = max(each["wall_s"] for each in found)
    return {
        "per_cpu_s": tokens / cpu_s,
        "per_wall_s": tokens / wall_s,
        "targets_per_cpu_s": sum(each["targets"] for each in found) / cpu_s,
        "peak_mb": sum(each["peak_mb"] for each in found),
    }


def cell(
    interpreters: dict[str, str], model: str, precision: str, num_ranks: int, given: argparse.Namespace
) -> dict[str, Any]:
    """Every side once a round, in turn; prints a line for each and returns the medians."""  # fmt: skip
    found: dict[str, list[dict[str, float]]] = {side: [] for side in interpreters}
    for _ in range(given.rounds):
        for side, interpreter in interpreters.items():
            found[side].append(run(side, interpreter, model, precision, num_ranks, given))
            print(f"  {side}: {found[side][-1]}", file=sys.stderr, flush=True)
    medians = {
        side: {name: statistics.median(one[name] for one in each) for name in each[0]} for side, each in found.items()
    }  # fmt: skip
    for side, each in medians.items():
        rates = [one["per_cpu_s"] for one in found[side]]
        print(
            f"{model:5} {precision} {num_ranks} rank(s)  {side:11} {each['per_cpu_s']:>7,.0f} tokens a CPU second "
            f"({min(rates):,.0f} to {max(rates):,.0f})  {each['targets_per_cpu_s']:>6,.1f} targets  "
            f"{each['per_wall_s']:>7,.0f} a second of the clock  {each['peak_mb']:>7,.0f} MB",
            flush=True,
        )
    return medians


def main() -> None:
    """Run all cells and print the table, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl", metavar="PYTHON")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp32"], default=["bf16", "fp32"])
    parser.add_argument("--ranks", nargs="+", type=int, choices=[1, 2, 4], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a round; one more warms up")
    parser.add_argument("--packs", type=int, default=4, help="of a step, over all ranks")
    parser.add_argument("--lengths", metavar="FILE", help="of real rows")
    parser.add_argument("--compile", action="store_true", help="FLAN's layers compiled")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        clock = Clock()
        {"flan": flan_side, "trl_packed": trl_packed_side, "padded": padded_side}[given.side](given, clock)
        print(json.dumps(clock.result()))
        return
    interpreters = {"flan": sys.executable, "padded": sys.executable}
    if given.trl:
        interpreters["trl_packed"] = given.trl
    else:
        print("no --trl PYTHON: TRL is not measured, and its ratios are missing")
    ratios, memory, own = {}, {}, {}
    for model in given.models:
        for precision in given.precisions:
            for num_ranks in given.ranks:
                medians = cell(interpreters, model, precision, num_ranks, given)
                name = f"{precision}_{model}" + (f"_{num_ranks}ranks" if num_ranks > 1 else "")
                own[name] = {key: round(value, 1) for key, value in medians["flan"].items()}
                for side in interpreters.keys() - {"flan"}:
                    ratios[f"{side}_{name}"] = round(
                        medians["flan"]["per_cpu_s"] / medians[side]["per_cpu_s"], 2
                    )
                    memory[f"{side}_{name}"] = round(medians["flan"]["peak_mb"] / medians[side]["peak_mb"], 2)
    settings = {
        "rounds": given.rounds, "steps": given.steps, "pack_length": PACK, "packs_per_step": given.packs,
        "padded_batch": PADDED_BATCH, "rows": NUM_ROWS,
        "lengths": given.lengths or "made", "models": MODELS, "optimizer": "adamw 1e-4, clip 1",
        "threads_per_rank": 1, "compile": given.compile, "unit": "input and target tokens per CPU second",
    }  # fmt: skip
    machine = {
        "cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    found = {"ratios": ratios, "memory_ratios": memory, "flan": own}
    print(json.dumps({"benchmark": "train", **found, "settings": settings, "machine": machine}))


if __name__ == "__main__":
    main()
