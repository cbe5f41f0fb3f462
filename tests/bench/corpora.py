"""How long each stage of data preparation takes on a large corpus, and how much memory.

    .venv/bin/python tests/bench/corpora.py --raw ../shared/data/cluener [--sentences 1000000] [--distinct 100000]

Repeats the training split of CLUENER with new ids until there are so many sentences, and runs the stages one after the
other in a temporary folder. The search for near-duplicates is a stage of its own: repeated sentences would be one text
to it, so it gets distinct ones, the beginning of one sentence and the end of another. Prints a Markdown table:
seconds, peak memory (the sum of the proportional set sizes of all processes of a stage, polled), bytes read and
written, and the seconds that reading and writing so many bytes alone takes.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STAGES = {
    "convert": (["convert", "large", "--raw", "raw"], ["raw/train.json"], ["data/gold/large/train.jsonl"]),
    "check": (["check", "large", "--no-near"], ["data/gold/large/train.jsonl"], []),
    "alpaca": (["alpaca", "large"], ["data/gold/large/train.jsonl"], ["data/alpaca/large_train.json"]),
}

NEAR = """
import json
from ner_data.near_duplicates import groups
with open("distinct.jsonl", encoding="utf-8") as file:
    groups(map(json.loads, file))
"""


def memory(pid: int) -> int:
    """The proportional set size of a process and its descendants in bytes."""
    total = 0
    for child in [pid, *_descendants(pid)]:
        try:
            rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(rollup.partition("\nPss:")[2].split()[0]) << 10
    return total


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [other for child in children for other in _descendants(child)]


def measured(command: list[str], folder: Path) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a command."""
    begin = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - begin, peak


def copying(read: list[Path], written: list[Path]) -> float:
    """The seconds that it takes to read some files, and to write as many bytes as others have."""
    begin = time.perf_counter()
    for path in read:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass
    for path in written:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            for _ in range(path.stat().st_size >> 20):
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - begin


def prepare(raw: Path, sentences: int, folder: Path) -> None:
    """Write the repeated corpus and its description."""
    lines = [json.loads(line) for line in (raw / "train.json").read_text("utf-8").splitlines()]
    (folder / "raw").mkdir()
    with (folder / "raw/train.json").open("w", encoding="utf-8") as file:
        for number, record in enumerate(islice(cycle(lines), sentences)):
            file.write(json.dumps({"id": number, **record}, ensure_ascii=False) + "\n")
    described = yaml.safe_load((ROOT / "data/corpora/cluener.yaml").read_text("utf-8"))
    described |= {"name": "large", "splits": {"train": {"file": "train.json"}}}
    (folder / "data/corpora").mkdir(parents=True)
    (folder / "data/corpora/large.yaml").write_text(yaml.safe_dump(described, allow_unicode=True), "utf-8")


def prepare_distinct(raw: Path, number: int, folder: Path) -> None:
    """Write distinct sentences, a JSON string per line."""
    texts = [json.loads(line)["text"] for line in (raw / "train.json").read_text("utf-8").splitlines()]
    chance = random.Random(0)
    found: dict[str, None] = {}
    while len(found) < number:
        one, other = chance.choice(texts), chance.choice(texts)
        found[one[: chance.randint(1, len(one))] + other[chance.randrange(len(other)) :]] = None
    with (folder / "distinct.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(text, ensure_ascii=False) + "\n" for text in found)


def row(stage: str, command: list[str], folder: Path, read: list[str], written: list[str]) -> float:
    """Measure a stage, print its row, and return its seconds."""
    seconds, peak = measured(command, folder)
    files = [folder / path for path in read], [folder / path for path in written]
    sizes = [sum(path.stat().st_size for path in paths) / 1e6 for paths in files]
    alone = copying(*files)
    print(f"| {stage} | {seconds:.1f} | {peak >> 20} | {sizes[0]:.0f} | {sizes[1]:.0f} | {alone:.1f} |", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="the folder with CLUENER's train.json")
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--distinct", type=int, default=100_000, help="sentences to search for near-duplicates")
    args = parser.parse_args()
    program = str(Path(sys.executable).with_name("ner-data"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(args.raw, args.sentences, folder)
        prepare_distinct(args.raw, args.distinct, folder)
        print("| stage | seconds | peak MiB | MB read | MB written | seconds for the bytes alone |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        total = 0.0
        for stage, (words, read, written) in STAGES.items():
            total += row(stage, [program, *words], folder, read, written)
        row(
            f"near-duplicates of {args.distinct:,} distinct",
            [sys.executable, "-c", NEAR],
            folder,
            ["distinct.jsonl"],
            [],
        )
        print(f"\n{args.sentences:,} sentences: {total:.1f} s in all without near-duplicates; {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
