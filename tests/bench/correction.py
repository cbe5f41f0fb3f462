"""What correcting is worth: the walk of ``docs/en/how-to/correction.md``, with gold instead of an annotator.

::

    .venv/bin/python tests/bench/correction.py --model qwen2.5-0.5b --corpus cluener --split dev --limit 400 \
        --base models/qwen2.5-0.5b -- num_train_epochs=3

A model is trained on a few sentences of a corpus's train split, annotates new ones, and the sentences that it is least
sure of are corrected and added; then it is trained again, from the base. Beside it the same with sentences drawn at
random. Everything that a reader of the walk does is done by the same commands, through doccano's files; only the
annotator is a look-up of the gold. All results of CORPUS SPLIT are published as two learning curves
(``ner-eval publish --curve``). What is there already is not done again, so a second start goes on.
"""

import argparse
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ner_data.corpus import load_corpus, write_description
from ner_data.described import Split
from ner_data.gold import Record, read_gold
from ner_models.base_models import load_base_model

SURE, RANDOM = "least certain", "random"
NEW = "dev"  # the split of a corpus of the walk that holds the texts to annotate
# As make sets it for a CPU.
ENVIRONMENT = {
    "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner", "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_MMAP_THRESHOLD_": "33554432",
}  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder of recipes/, whose lora.yaml trains")
    parser.add_argument("--base", type=Path, help="folder of the weights (default: as model.yaml says)")
    parser.add_argument("--corpus", default="cluener", help="whose train split is annotated, after `make data`")
    parser.add_argument("--split", default="dev", help="of the corpus, to score with")
    parser.add_argument("--limit", type=int, help="of records of the split")
    parser.add_argument("--form", default="lines", help="of answers")
    parser.add_argument("--start", type=int, default=200, help="sentences that are annotated at first")
    parser.add_argument("--pool", type=int, default=1000, help="sentences that the model annotates")
    parser.add_argument("--step", type=int, default=100, help="of them corrected in a round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--note", default="", help="what differs from the recipe, for the published results")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe")
    args = parser.parse_args()
    args.base = args.base or Path(load_base_model(args.model).weights)
    return args


def run(environment: str, program: str, *words: object, log: Path) -> None:
    """Run a program of an environment; what it prints goes to a log."""
    with log.open("ab") as out:
        command = [str(Path(environment, "bin", program)), *map(str, words)]
        if subprocess.run(command, env=os.environ | ENVIRONMENT, stdout=out, stderr=out).returncode:
            raise SystemExit(f"{' '.join(command)} failed; see {log}")


def write_doccano(path: Path, records: Iterable[Record], annotated: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            line: dict[str, object] = {"text": record.text}
            if annotated:
                line["label"] = [[entity.start, entity.end, entity.label] for entity in record.gold]
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Walk:
    """The settings, the gold of all sentences by text, and where things are."""

    args: argparse.Namespace
    gold: dict[str, Record]
    work: Path

    @property
    def log(self) -> Path:
        return self.work / "log"

    def data(self, name: str, raw: Path) -> None:
        """As `make data` does; labels without a name get those of the corpus."""
        run(".venv", "ner-data", "convert", name, "--raw", raw, log=self.log)
        run(".venv", "ner-data", "alpaca", name, "--form", self.args.form, log=self.log)

    def described(self, name: str, labelled: Sequence[Record], new: Sequence[Record]) -> None:
        """A corpus of annotated sentences, and new ones, in doccano's format."""
        raw = self.work / name
        write_doccano(raw / "train.jsonl", labelled)
        write_doccano(raw / "new.jsonl", new, annotated=False)
        splits = {"train": Split("train.jsonl"), NEW: Split("new.jsonl", gold=False)}
        source = load_corpus(self.args.corpus)
        write_description(replace(source, name=name, format="doccano", splits=splits, options={}))
        self.data(name, raw)

    def corrected(self, name: str, before: str, texts: Sequence[str], new: Sequence[Record]) -> None:
        """What the annotator gives back is a corpus; with the one before it is the next."""
        folder = self.work / f"{name}-corrected"
        write_doccano(folder / "corrected.jsonl", (self.gold[text] for text in texts))
        run(".venv", "ner-data", "init", folder.name, folder / "corrected.jsonl", log=self.log)
        run(".venv", "ner-data", "convert", folder.name, "--raw", folder, log=self.log)
        merged = f"{name}-merged"
        run(".venv", "ner-data", "merge", merged, before, folder.name, log=self.log)
        run(".venv", "ner-data", "convert", merged, log=self.log)
        self.described(name, list(read_gold(load_corpus(merged).gold_file("train"))), new)

    def train(self, name: str) -> Path:
        """Train and merge; returns the folder of the merged model."""
        adapter, merged = Path("saves", self.args.model, "lora", name), Path("models", name)
        weights = f"model_name_or_path={self.args.base}"
        recipes = Path("recipes", self.args.model)
        if not (adapter / "adapter_model.safetensors").is_file():
            words = [f"dataset={name}_train", f"output_dir={adapter}", *self.args.overrides]
            run(".venv-train", "llamafactory-cli", "train", recipes / "lora.yaml", weights, *words, log=self.log)
        if not (merged / "config.json").is_file():
            words = [f"adapter_name_or_path={adapter}", f"export_dir={merged}"]
            run(".venv-train", "llamafactory-cli", "export", recipes / "merge.yaml", weights, *words, log=self.log)
        return merged

    def ask(self, model: Path, corpus: str, split: str, *words: object) -> str:
        """Answers of a merged model without a server; returns the name of the run."""
        name = f"{model.name}-on-{corpus}-{split}"
        ask = ["predict", "--model", model.name, "--adapter", model, "--corpus", corpus, "--split", split, "--batch"]
        run(".venv", "ner-eval", *ask, *words, "--run", name, log=self.log)
        requests = Path("runs", name, "batch-requests.jsonl")
        if requests.is_file():
            results = requests.with_name("batch-results.jsonl")
            files = ["--requests", requests, "--results", results]
            run(".venv-serve", "ner-model", "answer-batch", f"{model.name}={model}", *files, log=self.log)
            run(".venv", "ner-eval", *ask, *words, "--run", name, log=self.log)
        return name

    def score(self, name: str, curve: str) -> float:
        """Train, ask, score, publish as a point of a curve; returns micro F1."""
        args, model = self.args, self.train(name)
        run_name = self.ask(model, args.corpus, args.split, *(["--limit", args.limit] if args.limit else []))
        run(".venv", "ner-eval", "score", f"runs/{run_name}", log=self.log)
        words = ["--adapter", f"saves/{args.model}/lora/{name}", "--curve", curve]
        run(".venv", "ner-eval", "publish", f"runs/{run_name}", *words, "--note", args.note, log=self.log)
        scores = json.loads(Path("runs", run_name, "scores.json").read_text(encoding="utf-8"))
        return float(scores["protocols"]["text"]["lenient"]["micro"]["f1"])

    def least_certain(self, name: str) -> list[str]:
        """The texts of the new split that the model of a corpus is least sure of, out of the file for the annotator."""
        run_name = self.ask(Path("models", name), name, NEW, "--confidence")
        folder = self.work / f"{name}-suggested"
        if not folder.exists():
            words = ["--format", "doccano", "--uncertain", self.args.step, "--output", folder]
            run(".venv", "ner-eval", "export", f"runs/{run_name}", *words, log=self.log)
        suggested = [json.loads(line) for line in (folder / f"{NEW}.jsonl").read_text("utf-8").splitlines()]
        right = sum(
            sorted(map(tuple, line["label"]))
            == sorted((e.start, e.end, e.label) for e in self.gold[line["text"]].gold)
            for line in suggested
        )
        print(f"{name}: of {len(suggested)} sentences to correct, {right} were right", flush=True)
        return [line["text"] for line in suggested]


def rounds(walk: Walk, curve: str, choose: Callable[[str, list[Record]], list[str]], new: list[Record]) -> None:
    """Choose, correct and train again, round by round, from the first model on."""
    before, count = "walk", walk.args.start
    for number in range(1, walk.args.rounds + 1):
        texts = set(chosen := choose(before, new))
        new = [record for record in new if record.text not in texts]
        name, count = f"walk-{curve.replace(' ', '-')}-{number}", count + len(chosen)
        walk.corrected(name, before, chosen, new)
        print(f"{curve:<14} {count:>6} sentences  micro F1 {walk.score(name, curve):.4f}", flush=True)
        before = name


def main() -> int:
    args = arguments()
    rng = random.Random(args.seed)
    records = list(read_gold(load_corpus(args.corpus).gold_file("train")))
    drawn = rng.sample(records, args.start + args.pool)
    labelled, new = drawn[: args.start], drawn[args.start :]
    walk = Walk(args, {record.text: record for record in drawn}, Path("cache/correction"))
    walk.work.mkdir(parents=True, exist_ok=True)
    walk.described("walk", labelled, new)
    print(f"{'first':<14} {args.start:>6} sentences  micro F1 {walk.score('walk', SURE):.4f}", flush=True)
    rounds(walk, SURE, lambda name, _: walk.least_certain(name), new)
    rounds(walk, RANDOM, lambda _, pool: [record.text for record in rng.sample(pool, args.step)], new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
