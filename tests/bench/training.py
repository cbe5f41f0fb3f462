"""How fast training is: stock llamafactory with a tutorial's settings, and ours, alternating in one run.

::

    make bench-train MODEL=nano CORPUS=demo ARGS="--micro-batch 8"     # a small model wants short rows
    make bench-train MODEL=DIR CORPUS=cluener ARGS="--micro-batch 8 --keep-layers"     # a folder with weights
    make bench-train MODEL=nano CORPUS=demo ARGS="--steps 20 disable_gradient_checkpointing=true"   # of both

Both train on the same records in the same order with the same seed, rank and learning rate, 32 records per step, each
run in a fresh process of the real ``llamafactory-cli``: stock without the plugin, 4 records at a time and 8 times
accumulated; ours with ``share_prompt: true`` and 32 at once (or --micro-batch). Stock computes its layers twice (gradient
checkpointing, its default), and so does ours without --keep-layers.
What is measured:

- records per second between the first and the last step (a start takes longer for one than for the other), by the
  clock of this process that reads ``trainer_log.jsonl`` as it grows;
- tokens computed per record (of stock with padding), as the trainer counts them;
- the most memory of the process (what ``wait4`` reports: resident, weights included);
- the loss of every step. The curves must be equal: what is faster must not be something else;
- the floor, see `floor.py`.

Writes ``docs/bench-train-NAME.json`` and ``.png``. Exits with 1 if the curves differ or a bound is missed.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ner_common.decoding import decode_yaml
from ner_common.files import read_object, write_json
from ner_common.machine import cpu_number_format, hardware, output_of
from ner_models.base_models import is_small, load_base_model, model_names

RECORDS = 32  # per step
COMMON: dict[str, Any] = {
    "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 8, "lora_target": "all",
    "dataset_dir": "data/alpaca", "template": "qwen", "cutoff_len": 1024, "overwrite_cache": True,
    "preprocessing_num_workers": 1, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "seed": 42,
    "data_seed": 42, "learning_rate": 1.0e-4, "lr_scheduler_type": "cosine", "warmup_steps": 0.1,
    "include_num_input_tokens_seen": "all", "overwrite_output_dir": True, "use_cpu": True,
}  # fmt: skip
STOCK = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8, "disable_gradient_checkpointing": False}
# How far a step's losses may be apart, as a share of the loss; rounding adds up over the steps.
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}
LEAST_SPEEDUP = {"small": 2.0, "large": 4.0}  # small: below 100 million parameters, whose steps are not all matrices
CURVE = "loss curves"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="a folder of recipes/, or a folder with weights")
    parser.add_argument("--corpus", default="demo", help="data/alpaca/CORPUS_train.json")
    parser.add_argument("--steps", type=int, default=10, help="steps of each run")
    parser.add_argument(
        "--micro-batch", type=int, choices=[4, 8, 16, 32], default=RECORDS, help="records at once in ours"
    )
    parser.add_argument(
        "--keep-layers", action="store_true", help="ours checkpoints no gradients: faster, in more memory"
    )
    parser.add_argument("--rounds", type=int, default=2, help="runs of each")
    parser.add_argument("--dtype", choices=list(TOLERANCE), help="default: what suits this CPU; float32 for nano")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the results")
    parser.add_argument("--name", help="name of the results (default: from model and corpus)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of both")
    args = parser.parse_intermixed_args()
    named = args.model in model_names()
    args.base = load_base_model(args.model).weights if named else Path(args.model)
    args.name = args.name or f"{args.base.resolve().name}-{args.corpus}"
    if not (args.base / "config.json").is_file():
        raise SystemExit(f"{args.base}: no model there; run `make download`, or name a folder with MODEL=…")
    if not Path(f"data/alpaca/{args.corpus}_train.json").is_file():
        raise SystemExit(f"data/alpaca/{args.corpus}_train.json: no such file; run `make data CORPUS={args.corpus}`")
    if args.steps < 2 or args.rounds < 1:
        raise SystemExit("--steps 2 and --rounds 1 are the least that can be timed")
    return args


def settings(args: argparse.Namespace, base: Path, dtype: str) -> dict[str, dict[str, Any]]:
    """The arguments of both."""
    both = COMMON | {"model_name_or_path": str(base), "dataset": f"{args.corpus}_train", "bf16": dtype == "bfloat16"}
    both |= {"max_samples": args.steps * RECORDS, "max_steps": args.steps}
    given = {name: decode_yaml(value) for name, value in (word.split("=", 1) for word in args.overrides)}
    ours = {
        "share_prompt": True,
        "per_device_train_batch_size": args.micro_batch,
        "gradient_accumulation_steps": RECORDS // args.micro_batch,
        "disable_gradient_checkpointing": args.keep_layers,
    }
    return {"stock": both | STOCK | given, "ours": both | STOCK | ours | given}


def base_in(dtype: str, base: Path, folder: Path) -> Path:
    """The base model stored in the number format that is computed in: LLaMA-Factory loads weights as published.

    Else stock would convert every weight at every use, or compute in bfloat16 where that takes ten times as long.
    """
    if read_object(base / "config.json").get("dtype", "float32") == dtype:
        return base
    from transformers import AutoModelForCausalLM

    for path in base.iterdir():
        if path.is_file() and path.suffix not in (".safetensors", ".bin"):
            shutil.copy(path, folder)
    AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(folder)
    return folder


def train(kind: str, given: dict[str, Any], work: Path) -> dict[str, Any]:
    """One run: seconds between its first and its last step, losses, tokens and the most memory."""
    folder = Path(tempfile.mkdtemp(dir=work))
    recipe = folder / "recipe.yaml"  # every JSON document is YAML
    write_json(recipe, given | {"output_dir": str(folder / "out")})
    environment = {name: value for name, value in os.environ.items() if name != "AUTOWRAPT_BOOTSTRAP"}
    if kind == "ours":
        environment["AUTOWRAPT_BOOTSTRAP"] = "llamafactory_ner"
    else:  # llamafactory imports torchaudio, which has no CPU build here; the plugin's stand-in is not loaded
        environment["PYTHONPATH"] = os.pathsep.join([str(stand_in(work)), environment.get("PYTHONPATH", "")])
    command = [str(Path(sys.executable).with_name("llamafactory-cli")), "train", str(recipe)]
    log, seen = folder / "out/trainer_log.jsonl", list[float]()
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        ended = 0
        while not ended:
            time.sleep(0.005)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            lines = log.read_bytes().count(b"\n") if log.exists() else 0
            seen += [time.perf_counter()] * (lines - len(seen))
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{kind} failed:\n{(folder / 'log').read_text(errors='replace')[-3000:]}")
    steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [step for step in steps if "loss" in step]
    count = len(steps)
    return {
        "seconds": seen[count - 1] - seen[0],
        "records": (count - 1) * RECORDS,
        "tokens": steps[-1]["total_tokens"],
        "losses": [step["loss"] for step in steps],
        "memory_gb": used.ru_maxrss / 1e6,
    }


def stand_in(work: Path) -> Path:
    folder = work / "stand_in"
    folder.mkdir(exist_ok=True)
    (folder / "torchaudio.py").touch()
    return folder


def floor(recipe: Path, base: Path, args: argparse.Namespace, dtype: str) -> dict[str, float]:
    """The floor of a step, measured in a process of its own."""
    script = Path(__file__).with_name("floor.py")
    words = [base, recipe, args.steps, RECORDS, dtype]
    environment = os.environ | {"AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [sys.executable, str(script), *map(str, words)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"floor: {ended.stderr[-2000:]}")
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def summary(runs: list[dict[str, Any]], steps: int, bound: dict[str, float]) -> dict[str, Any]:
    """Of all runs of one kind: the median rate, tokens per record, the most memory, and the distance from the floor."""
    rates = sorted(run["records"] / run["seconds"] for run in runs)
    rate = statistics.median(rates)
    return {
        "records_per_second": rate,
        "slowest": rates[0],
        "fastest": rates[-1],
        "tokens_per_record": runs[0]["tokens"] / (steps * RECORDS),
        "memory_gb": max(run["memory_gb"] for run in runs),
        "times_the_floor": RECORDS / rate / bound["seconds"],
        "losses": runs[0]["losses"],
    }


def largest_difference(one: list[float], other: list[float]) -> float:
    """Of two loss curves, as a share of the loss; endless if they have different lengths, or a loss is no number."""
    if len(one) != len(other) or not one or not all(map(math.isfinite, [*one, *other])):
        return float("inf")
    return max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(one, other, strict=True))


def failures(result: dict[str, Any]) -> list[str]:
    """What is not as it should be; none if all bounds are kept."""
    stock, ours = result["stock"], result["ours"]
    failed = []
    if result["loss_difference"] > result["tolerance"]:
        failed.append(f"the {CURVE} differ by {result['loss_difference']:.2%} (at most {result['tolerance']:.2%})")
    if result["speedup"] < result["least_speedup"]:
        failed.append(f"{result['speedup']:.2f} times as fast (at least {result['least_speedup']})")
    if ours["memory_gb"] > stock["memory_gb"]:
        failed.append(f"{ours['memory_gb']:.2f} GB of memory (at most {stock['memory_gb']:.2f})")
    return failed


def plot(result: dict[str, Any], path: Path) -> None:
    """Both loss curves, laid over each other."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=120)
    for kind, style in (("stock", {"lw": 5, "color": "#bbbbbb"}), ("ours", {"lw": 1.5, "color": "#0b5394"})):
        rate = result[kind]["records_per_second"]
        losses = result[kind]["losses"]
        axes.plot(range(1, len(losses) + 1), losses, label=f"{kind}, {rate:.2f} records/s", **style)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="step of 32 records", ylabel="training loss", title=f"{result['name']}, {result['dtype']}")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def report(result: dict[str, Any]) -> None:
    print(f"{result['name']}, {result['dtype']}, {result['hardware']}, median of {result['rounds']} runs each")
    for kind in ("stock", "ours"):
        found = result[kind]
        print(
            f"{kind:6} {found['records_per_second']:7.2f} records/s ({found['slowest']:.2f} to {found['fastest']:.2f})"
            f" {found['tokens_per_record']:6.1f} tokens/record {found['memory_gb']:6.2f} GB"
            f" {found['times_the_floor']:5.2f} times the floor"
        )
    bound = result["floor"]
    print(f"speedup {result['speedup']:.2f}; {CURVE} at most {result['loss_difference']:.3%} apart")
    print(
        f"floor   {bound['operations'] / 1e9:,.0f} GFLOP a step at {bound['rate'] / 1e9:,.0f} GFLOP/s: "
        f"{bound['seconds']:.2f} s ({bound['tokens']:.0f} tokens, {bound['labels']:.0f} labels)"
    )


def main() -> int:
    args = arguments()
    small = is_small(args.base)
    dtype = args.dtype or ("float32" if small else cpu_number_format().name)
    Path("cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="cache", prefix="bench-train-") as name:
        work = Path(name).resolve()
        (work / "base").mkdir()
        base = base_in(dtype, args.base, work / "base")
        given = settings(args, base, dtype)
        for key in sorted(given["ours"]):
            if given["ours"][key] != given["stock"].get(key):
                print(f"differs: {key}: {given['stock'].get(key)} (stock), {given['ours'][key]} (ours)")
        write_json(work / "recipe.yaml", given["ours"] | {"output_dir": str(work / "floor")})
        runs: dict[str, list[dict[str, Any]]] = {"stock": [], "ours": []}
        for number in range(args.rounds):
            for kind, found in runs.items():
                found.append(train(kind, given[kind], work))
                rate = found[-1]["records"] / found[-1]["seconds"]
                print(f"run {number + 1} {kind:6} {rate:7.2f} records/s {found[-1]['memory_gb']:.2f} GB", flush=True)
        bound = floor(work / "recipe.yaml", base, args, dtype)
    stock, ours = (summary(found, args.steps, bound) for found in runs.values())
    result = {
        "name": args.name, "dtype": dtype, "hardware": hardware(), "rounds": args.rounds, "steps": args.steps,
        "commit": output_of("git", "rev-parse", "--short", "HEAD") or "unknown",
        "settings": {kind: {k: v for k, v in all.items() if k != "model_name_or_path"} for kind, all in given.items()},
        "stock": stock, "ours": ours, "floor": bound,
        "speedup": ours["records_per_second"] / stock["records_per_second"],
        "least_speedup": LEAST_SPEEDUP["small" if small else "large"],
        "loss_difference": max(
            largest_difference(a["losses"], b["losses"]) for a in runs["stock"] for b in runs["ours"]
        ),
        "tolerance": TOLERANCE[dtype],
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / f"bench-train-{args.name}.json", result)
    plot(result, args.out / f"bench-train-{args.name}.png")
    report(result)
    for problem in failures(result):
        print(f"missed: {problem}")
    return 1 if failures(result) else 0


if __name__ == "__main__":
    sys.exit(main())
