"""How fast `ner-eval predict` is: compared with ``vllm bench serve`` and with a sequential client.

Same server, same prompts (system and user message of a gold file's records), same sampling, same concurrency, one run::

    .venv-serve/bin/python tests/bench/throughput.py --model nano-lora-demo --corpus demo \
        --base-url http://127.0.0.1:8000/v1

Each client runs in its own process, so its CPU time can be measured; they alternate after a first pass that fills the
server's prefix cache. Ours stores every answer, as always. The sequential client is ours with one request at a time;
"short" is ours with one-token answers, which make the server as fast as possible: next to a busy model on the same
cores, the client's caches are cold and the same work takes two to three times as long. Exits with 1 if a bound is
missed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ner_data.gold import Record, read_gold
from ner_data.prompt import PromptSpec
from ner_eval.inference.asking import ask_all
from ner_eval.inference.client import Client, run_async
from ner_eval.inference.request import request_body, sampling
from ner_eval.runs.manifest import Manifest
from ner_eval.runs.predictions import begin
from ner_eval.runs.writer import locked_run

LEAST_SHARE, LEAST_SPEEDUP, MOST_CPU_MS = 0.95, 10.0, 1.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", default="demo")
    parser.add_argument("--gold", type=Path, help="default: data/gold/CORPUS/test.jsonl")
    parser.add_argument("--prompt", type=Path, help="default: data/alpaca/CORPUS.prompt.json")
    parser.add_argument("--requests", type=int, default=1200, help="about the size of CLUENER dev; records repeat")
    parser.add_argument("--sequential", type=int, default=40, help="requests of the sequential client")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", choices=["ours", "vllm", "sequential", "short"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.gold = args.gold or Path(f"data/gold/{args.corpus}/test.jsonl")
    args.prompt = args.prompt or Path(f"data/alpaca/{args.corpus}.prompt.json")
    return args


def records_of(args: argparse.Namespace, count: int) -> list[Record]:
    gold = list(read_gold(args.gold))
    return [Record(f"{n}", gold[n % len(gold)].text, None) for n in range(count)]


async def ours(args: argparse.Namespace, count: int, concurrency: int, short: bool) -> dict[str, float]:
    spec = PromptSpec.load(args.prompt)
    records = records_of(args, count)
    asked = sampling(spec, "off", False) | ({"max_tokens": 1} if short else {})
    manifest = Manifest(1, args.model, (args.base_url,), args.corpus, "test", "", "", spec, asked, {}, {})
    with tempfile.TemporaryDirectory(dir=".") as folder:
        run = Path(folder) / "run"
        async with Client([args.base_url]) as client:
            with locked_run(run):
                stored = begin(run, manifest, [record.id for record in records])
                started, cpu = time.perf_counter(), time.process_time()
                await ask_all(client, manifest, records, stored, run, concurrency)
                return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "requests": count}


async def vllm(args: argparse.Namespace) -> dict[str, float]:
    from vllm.benchmarks.datasets import SampleRequest
    from vllm.benchmarks.serve import TaskType, benchmark

    spec = PromptSpec.load(args.prompt)
    body = request_body(args.model, spec, "", sampling(spec, "off", False))
    extra = {key: value for key, value in body.items() if key not in ("model", "messages", "max_tokens")}
    requests = [
        SampleRequest("", 1, spec.max_tokens, request_id=record.id, chat_messages=spec.messages(record.text))
        for record in records_of(args, args.requests)
    ]
    server = args.base_url.removesuffix("/v1")
    cpu = time.process_time()
    result: dict[str, Any] = await benchmark(
        task_type=TaskType.GENERATION, endpoint_type="openai-chat", api_url=f"{server}/v1/chat/completions",
        base_url=server, model_id=args.model, model_name=args.model, tokenizer=None, input_requests=requests,
        logprobs=None, request_rate=float("inf"), burstiness=1.0, disable_tqdm=False, num_warmups=0, profile=False,
        selected_percentile_metrics=[], selected_percentiles=[99.0], ignore_eos=False, goodput_config_dict={},
        max_concurrency=args.concurrency, lora_modules=None, extra_headers=None, extra_body=extra,
    )  # fmt: skip
    assert result["completed"] == args.requests, result
    return {"seconds": result["duration"], "cpu": time.process_time() - cpu, "requests": args.requests}


def child(args: argparse.Namespace, client: str) -> dict[str, float]:
    """Run one client in its own process; its last line is the result."""
    command = [sys.executable, *sys.argv, "--client", client]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{client}: {ended.stderr[-2000:]}")
    result: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    rate, cpu = result["requests"] / result["seconds"], 1000 * result["cpu"] / result["requests"]
    print(f"{client:11} {result['requests']:5.0f} requests {rate:8.1f} requests/s {cpu:6.2f} ms client CPU a request")
    return result


def main() -> int:
    args = arguments()
    if args.client == "vllm":
        print(json.dumps(asyncio.run(vllm(args))))
        return 0
    if args.client:
        count, at_once = (args.sequential, 1) if args.client == "sequential" else (args.requests, args.concurrency)
        print(json.dumps(run_async(ours(args, count, at_once, args.client == "short"))))
        return 0
    print(
        f"{args.requests} requests, {args.concurrency} at once, {args.model} at {args.base_url}; first pass, not counted:"
    )
    child(args, "ours")
    print("counted:")
    results: dict[str, list[dict[str, float]]] = {"ours": [], "vllm": [], "sequential": [], "short": []}
    for number in range(args.rounds):
        for client in ("vllm", "ours") if number % 2 else ("ours", "vllm"):
            results[client].append(child(args, client))
        results["sequential"].append(child(args, "sequential"))
        results["short"].append(child(args, "short"))
    rate = {name: sum(r["requests"] for r in all) / sum(r["seconds"] for r in all) for name, all in results.items()}
    cpu = {
        name: 1000 * sum(r["cpu"] for r in results[name]) / sum(r["requests"] for r in results[name])
        for name in ("ours", "short")
    }
    share, speedup = rate["ours"] / rate["vllm"], rate["ours"] / rate["sequential"]
    print(f"ours / vllm bench serve: {share:.3f} (at least {LEAST_SHARE})")
    print(f"ours / sequential:       {speedup:.1f} (at least {LEAST_SPEEDUP:.0f})")
    print(f"client CPU a request:    {cpu['ours']:.2f} ms (below {MOST_CPU_MS:.0f})")
    print(f"                         {cpu['short']:.2f} ms at {rate['short']:.0f} requests/s, answers of one token")
    return 0 if share >= LEAST_SHARE and speedup >= LEAST_SPEEDUP and cpu["ours"] < MOST_CPU_MS else 1


if __name__ == "__main__":
    sys.exit(main())
