"""Training, asking and publishing one model after the other, by the commands that make runs, without a server.

For benchmarks of many trainings. What is there already is not done again, so a benchmark that was stopped goes on.
"""

import argparse
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ner_eval.published import read_result
from ner_models.base_models import load_base_model

# As make sets it for a CPU.
ENVIRONMENT = {
    "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner", "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_MMAP_THRESHOLD_": "33554432",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a folder of recipes/, whose lora.yaml trains")
    parser.add_argument("--base", type=Path, help="folder of the weights (default: as model.yaml says)")
    parser.add_argument("--corpus", default="cluener", help="to train on, after `make data`")
    parser.add_argument("--split", default="dev", help="of the corpus, to score with")
    parser.add_argument("--limit", type=int, help="of records of the split")
    parser.add_argument("--note", default="", help="what differs from the recipe, for the published results")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe")


@dataclass(frozen=True)
class Chain:
    """A base model and its recipe, a split to score with, and a log of what all programs printed."""

    model: str
    base: Path
    corpus: str
    split: str
    limit: int | None
    note: str
    overrides: tuple[str, ...]
    log: Path

    @classmethod
    def of(cls, args: argparse.Namespace, log: Path) -> "Chain":
        log.parent.mkdir(parents=True, exist_ok=True)
        base = args.base or Path(load_base_model(args.model).weights)
        return cls(
            args.model, base, args.corpus, args.split, args.limit, args.note, tuple(args.overrides), log.resolve()
        )

    def run(self, environment: str, program: str, *words: object) -> None:
        """Run a program of an environment."""
        command = [str(Path(environment, "bin", program)), *map(str, words)]
        with self.log.open("ab") as out:
            if subprocess.run(command, env=os.environ | ENVIRONMENT, stdout=out, stderr=out).returncode:
                raise SystemExit(f"{' '.join(command)} failed; see {self.log}")

    def adapter(self, name: str) -> Path:
        return Path("saves", self.model, "lora", name)

    def merged(self, name: str) -> Path:
        return Path("models", name)

    def train(self, name: str, corpus: str, *overrides: str) -> None:
        """Train on a corpus's train split, and merge."""
        weights, recipes = f"model_name_or_path={self.base}", Path("recipes", self.model)
        adapter, merged = self.adapter(name), self.merged(name)
        if not (adapter / "adapter_model.safetensors").is_file():
            words = [weights, f"dataset={corpus}_train", f"output_dir={adapter}", *self.overrides, *overrides]
            self.run(".venv-train", "llamafactory-cli", "train", recipes / "lora.yaml", *words)
        if not (merged / "config.json").is_file():
            words = [weights, f"adapter_name_or_path={adapter}", f"export_dir={merged}"]
            self.run(".venv-train", "llamafactory-cli", "export", recipes / "merge.yaml", *words)

    def ask(self, name: str, corpus: str, split: str, *words: object) -> str:
        """Answers of a merged model; returns the name of the run."""
        model, run = self.merged(name), f"{name}-on-{corpus}-{split}"
        ask = ["predict", "--model", name, "--adapter", model, "--corpus", corpus, "--split", split, "--batch"]
        self.run(".venv", "ner-eval", *ask, *words, "--run", run)
        requests = Path("runs", run, "batch-requests.jsonl")
        if requests.is_file():
            files = ["--requests", requests, "--results", requests.with_name("batch-results.jsonl")]
            self.run(".venv-serve", "ner-model", "answer-batch", f"{name}={model}", *files)
            self.run(".venv", "ner-eval", *ask, *words, "--run", run)
        return run

    def score(self, name: str, curve: str, *words: object) -> float:
        """Ask for the split, score, and publish as a point of a learning curve; returns micro F1."""
        run = self.ask(name, self.corpus, self.split, *(["--limit", self.limit] if self.limit else []))
        self.run(".venv", "ner-eval", "score", f"runs/{run}")
        words = ("--adapter", self.adapter(name), "--curve", curve, "--note", self.note, *words)
        self.run(".venv", "ner-eval", "publish", f"runs/{run}", *words)
        return read_result(Path("recipes", self.model, "results", f"{run}.json")).micro_f1
