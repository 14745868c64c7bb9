"""What a served model does when four times as much is asked as it can answer.

    python benchmarks/overload.py [--seconds 60] [--times 4] [--max-batch 8] [--max-waiting 24] [--threads 2] [--smoke]

The server is a process of its own, as `flan serve` starts it; this one asks over HTTP. First its capacity: requests a
second while as many are outstanding as it has places. Then requests come at `times` that rate, whether earlier ones are
answered or not (exponential gaps), and once they end, single ones until one is answered. Prompts have 30 to 600 tokens,
answers 1 to 64.

    goodput             answered in a second under overload, over the capacity: 0.95 is wanted
    admitted_p99        99th percentile of answered requests' seconds, over the same while slots and queue were full
                        but nobody was refused: at most 1.5
    admitted_p99_by_places  the same over (slots + queue) / capacity, which is what a request takes on average while all
                        places are taken; full_p99_by_places is what the 99th percentile of that while is. The longest
                        answers take twice as long as the average one, but wait no longer: the more of the places are
                        slots, the larger the ratio ((24 + 2 x 8) / 32 = 1.25 and (16 + 2 x 16) / 32 = 1.5)
    refused_p99_ms      of 429s, from asking to the answer: at most 50
    server_errors       5xx, broken connections and 429s without Retry-After: none
    memory_growth       resident memory at the end over that after the capacity was measured: about 1 (the cache is
                        small enough to have been full by then)
    client_cpu_share    what asking took of all cores: the server did not have it
    recovered_s         from the last question of the overload to the first answered one after it: at most 5

The last line is JSON.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from serve import MODEL, make_model

OK, REFUSED = 200, 429


class Answered(NamedTuple):
    """How a question went."""

    status: int
    """0: the connection broke."""
    seconds: float
    ended: float
    """By the clock of time.perf_counter()."""
    has_retry_after: bool


def questions(seed: int) -> Iterator[bytes]:
    """Bodies of /generate, without end."""
    draw = random.Random(seed)
    for number in range(sys.maxsize):
        words = (f"w{draw.randrange(3, MODEL['vocab_size'])}" for _ in range(draw.randint(30, 600)))
        question = {
            "prompt": " ".join(words),
            "max_new_tokens": draw.randint(1, 64),
            "seed": number,
            "mode": "sample",
        }
        yield json.dumps(question).encode()


async def ask(url: str, body: bytes) -> Answered:
    """Ask once, on a connection of its own: a library for it would take more of the machine than the server's door."""
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"POST /generate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    begin = time.perf_counter()
    answer = b""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + body)
        answer = await reader.read(-1)
        writer.close()
    end = time.perf_counter()
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    return Answered(status, end - begin, end, b"retry-after:" in answer.lower())


async def closed_loop(url: str, outstanding: int, seconds: float) -> list[Answered]:
    """Answers of so many seconds in which as many were outstanding; how long it takes until all write is left out."""
    ended: list[Answered] = []
    asked, until = questions(1), time.perf_counter() + 1.3 * seconds

    async def go_on() -> None:
        while time.perf_counter() < until:
            ended.append(await ask(url, next(asked)))

    await asyncio.gather(*(go_on() for _ in range(outstanding)))
    return [each for each in ended if until - seconds < each.ended <= until and each.status == OK]


class Arrival(NamedTuple):
    """A question, and when it is asked."""

    due_s: float
    """From the beginning."""
    body: bytes


def arrivals(rate: float, seconds: float) -> list[Arrival]:
    """Questions at `rate` a second, for so long. Written before they are asked: the processors are the server's."""
    draw = random.Random(2)
    dues = itertools.accumulate(draw.expovariate(rate) for _ in itertools.count())
    within = itertools.takewhile(lambda due_s: due_s < seconds, dues)
    return [Arrival(due_s, body) for due_s, body in zip(within, questions(2), strict=False)]


async def overload(url: str, coming: Sequence[Arrival], begin: float) -> list[Answered]:
    """What became of each; last, the first answer to single questions once all have come."""
    running: list[asyncio.Task[Answered]] = []
    for due_s, body in coming:
        await asyncio.sleep(max(0.0, begin + due_s - time.perf_counter()))
        running.append(asyncio.create_task(ask(url, body)))
    return list(await asyncio.gather(*running, _recovered(url, time.perf_counter())))


async def _recovered(url: str, since: float) -> Answered:
    """The first answer to single questions, with the seconds since."""
    short = b'{"prompt": "w5 w6 w7", "max_new_tokens": 1, "seed": 1}'
    while (answered := await ask(url, short)).status != OK:
        await asyncio.sleep(0.05)
    return answered._replace(seconds=answered.ended - since)


async def measure(url: str, given: argparse.Namespace, pid: int) -> dict[str, Any]:
    """All figures."""
    full = await closed_loop(url, given.max_batch + given.max_waiting, given.seconds / 2)
    capacity, full_p99_s = len(full) / (given.seconds / 2), _p99([each.seconds for each in full])
    places_s = (given.max_batch + given.max_waiting) / capacity
    coming = arrivals(given.times * capacity, given.seconds)
    before, own_before = _resident_bytes(pid), time.process_time()
    begin = time.perf_counter()
    *went, recovered = await overload(url, coming, begin)
    after, own_s = _resident_bytes(pid), time.process_time() - own_before
    admitted = [each.seconds for each in went if each.status == OK]
    refused = [each.seconds for each in went if each.status == REFUSED]
    # As for the capacity: how long it takes until all places are taken is left out.
    steady_s = given.seconds / 1.3
    end = begin + given.seconds
    in_time = sum(each.status == OK and end - steady_s < each.ended <= end for each in went)
    strange = [
        each.status
        for each in went
        if each.status not in (200, 429) or (each.status == REFUSED and not each.has_retry_after)
    ]
    return {
        "capacity": round(capacity, 2),
        "asked": len(went),
        "admitted": len(admitted),
        "goodput": round(in_time / steady_s / capacity, 3),
        "admitted_p99": round(_p99(admitted) / full_p99_s, 3),
        "admitted_p99_by_places": round(_p99(admitted) / places_s, 3),
        "full_p99_by_places": round(full_p99_s / places_s, 3),
        "admitted_p99_s": round(_p99(admitted), 2),
        "refused_p50_ms": round(1_000 * float(np.percentile(refused, 50)), 1) if refused else None,
        "refused_p99_ms": round(1_000 * _p99(refused), 1) if refused else None,
        "server_errors": Counter(strange),
        "memory_growth": round(after / before, 3),
        "client_cpu_share": round(own_s / given.seconds / (os.cpu_count() or 1), 3),
        "recovered_s": round(recovered.seconds, 2),
    }


def _p99(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 99))


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def serve_side(given: argparse.Namespace) -> None:
    """The server; prints its address, and ends with its standard input."""
    import torch

    from flan.model.load import load_model
    from flan.serve.lifetime import Server, face_of
    from flan.spec import Sampling, ServeSpec

    torch.set_num_threads(given.threads)
    spec = ServeSpec(
        name="overload", model="overload", sampling=Sampling(max_new_tokens=64), max_batch=given.max_batch,
        max_waiting=given.max_waiting, cache_bytes=2**28,
    )  # fmt: skip
    model = load_model(given.directory, dtype=torch.bfloat16)
    server = Server(face_of(model, spec, token=None), "127.0.0.1", 0)
    server.start()
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop()


@contextmanager
def served(directory: Path, given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Address and process of the server, until the block ends."""
    command = [
        sys.executable, __file__, "--directory", str(directory), "--threads", str(given.threads),
        "--max-batch", str(given.max_batch), "--max-waiting", str(given.max_waiting),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.kill()


def main() -> None:
    """Run it and print the figures, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=4)
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--max-waiting", type=int, default=24)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--smoke", action="store_true", help="a few seconds")
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.directory:
        serve_side(given)
        return
    # Told to end, it ends its server as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if given.smoke:
        given.seconds = 6
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        with served(Path(folder), given) as (url, pid):
            figures = asyncio.run(measure(url, given, pid))
    for name, value in figures.items():
        print(f"{name:16} {value}")
    settings = {key: value for key, value in vars(given).items() if key != "directory"}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "overload", "figures": figures, "settings": settings, "machine": machine}))


if __name__ == "__main__":
    main()
