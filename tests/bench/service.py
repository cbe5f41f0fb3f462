"""What `ner-eval api` adds to an engine: CPU time per request, and latencies beside the engine's own.

Without an engine, against one that answers at once (`tests/engine_stub.py`): the CPU time is ours alone::

    .venv/bin/python tests/bench/service.py

Against a real one, 64 connections for a minute each, directly and through the service, with the same prompts::

    .venv/bin/python tests/bench/service.py --engine http://127.0.0.1:8000/v1 --model nano-lora-demo \
        --adapter saves/nano/lora/demo --seconds 60

One text per request, from a gold file. The load comes from this process; engine and service are processes of their own.
Exits with 1 if a request fails, or the service takes more than the bound.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import aiohttp
import httpx

from ner_data.gold import read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.inference.client import run_async
from ner_eval.inference.http import encoded
from ner_eval.inference.request import request_body, sampling

ROOT = Path(__file__).resolve().parents[2]
MOST_CPU_MS = 2.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", metavar="URL", help="default: one that answers at once")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--adapter", type=Path, default=ROOT / "tests/previous/lora", help="with its ner_prompt.json")
    parser.add_argument("--gold", type=Path, default=ROOT / "tests/previous/gold.jsonl")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--scores", action="store_true", help="ask for scores too")
    parser.add_argument("--engine-port", type=int, default=8368)
    parser.add_argument("--port", type=int, default=8369)
    return parser.parse_args()


@dataclass
class Measured:
    """What one load has shown: seconds of each request, failures by kind."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ordered = sorted(self.latencies) or [0.0]
        percentiles = [1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99)]
        said = "  ".join(f"p{p} {ms:7.1f} ms" for p, ms in zip((50, 95, 99), percentiles, strict=True))
        return f"{len(self.latencies) / self.seconds:7.1f} requests/s  {said}  {sum(self.failures.values())} errors"


async def load(url: str, bodies: list[bytes], connections: int, seconds: float) -> Measured:
    """Ask on so many connections for so long; requests under way at the end are waited for."""
    measured, turn = Measured(seconds), cycle(bodies)
    until = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=connections)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def connection() -> None:
            while (started := time.perf_counter()) < until:
                try:
                    async with session.post(url, data=next(turn)) as reply:
                        await reply.read()
                        if reply.status != 200:
                            measured.failures[f"HTTP {reply.status}"] += 1
                except aiohttp.ClientError as error:
                    measured.failures[type(error).__name__] += 1
                measured.latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(connection() for _ in range(connections)))
    return measured


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join([str(ROOT / "tools"), str(ROOT / "eval")])
    log = subprocess.DEVNULL
    started = subprocess.Popen([sys.executable, *command], env={**os.environ, "PYTHONPATH": path}, stderr=log)
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


def until_up(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url}: does not answer")


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far (user and system: fields 14 and 15 of its stat, see proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    args = arguments()
    texts = [record.text for record in read_gold(args.gold)]
    spec = PromptSpec.load(args.adapter / FILE_NAME)
    carried = sampling(spec, "off", False, args.scores)
    direct = [encoded(request_body(args.model, spec, text, carried)) for text in texts]
    ours = [json.dumps({"text": text, "scores": args.scores}).encode() for text in texts]
    engine = args.engine or f"http://127.0.0.1:{args.engine_port}/v1"
    entry = "from ner_eval.cli import entry_point; entry_point()"
    served = f"{args.model}={args.adapter / FILE_NAME}"
    with ExitStack() as stack:
        if not args.engine:
            stack.enter_context(process(str(ROOT / "tests/engine_stub.py"), str(args.engine_port)))
        until_up(f"{engine}/models")
        words = ["-c", entry, "api", "--model", served, "--port", str(args.port), "--base-url", engine]
        service = stack.enter_context(process(*words))
        until_up(f"http://127.0.0.1:{args.port}/ready")

        address = f"http://127.0.0.1:{args.port}/extract"
        run_async(load(address, ours, args.connections, min(3.0, args.seconds)))  # warm
        print(f"{args.connections} connections, {args.seconds:g} s each; engine: {args.engine or 'answers at once'}")
        alone = run_async(load(f"{engine}/chat/completions", direct, args.connections, args.seconds))
        print(f"engine   {alone}  {dict(alone.failures) or ''}")
        before = cpu_of(service.pid)
        through = run_async(load(address, ours, args.connections, args.seconds))
        cpu = 1000 * (cpu_of(service.pid) - before) / len(through.latencies)
        print(f"service  {through}  {dict(through.failures) or ''}")
    print(f"CPU time of the service: {cpu:.2f} ms a request (at most {MOST_CPU_MS:g})")
    return int(bool(alone.failures or through.failures) or cpu > MOST_CPU_MS)


if __name__ == "__main__":
    sys.exit(main())
