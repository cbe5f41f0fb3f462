"""What correcting is worth: the walk of ``docs/en/how-to/correction.md``, with gold instead of an annotator.

::

    .venv/bin/python tests/bench/correction.py --model qwen2.5-0.5b --corpus cluener --split dev --limit 400 \
        --base models/qwen2.5-0.5b -- num_train_epochs=3

A model is trained on a few sentences of a corpus's train split, annotates new ones, and the sentences that it is least
sure of are corrected and added; then it is trained again, from the base. Beside it the same with sentences drawn at
random. What a reader of the walk does is done by our programs here too, through doccano's files, with a batch in place of
a server; only the annotator is a look-up of the gold. All results of CORPUS SPLIT are published as two learning curves
(``ner-eval publish --curve``). What is there already is not done again, so a second start goes on.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chain import Chain, add_arguments

from ner_data.corpus import load_corpus, write_description
from ner_data.described import Split
from ner_data.gold import Record, read_gold

SURE, RANDOM = "least certain", "random"
NEW = "dev"  # the split of a corpus of the walk that holds the texts to annotate


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--form", default="lines", help="of answers")
    parser.add_argument("--start", type=int, default=200, help="sentences that are annotated at first")
    parser.add_argument("--pool", type=int, default=1000, help="sentences that the model annotates")
    parser.add_argument("--step", type=int, default=100, help="of them corrected in a round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


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
    """The settings, the gold of all sentences by text, and a folder for raw files."""

    args: argparse.Namespace
    chain: Chain
    gold: dict[str, Record]
    work: Path

    def described(self, name: str, records: Sequence[Record], annotated: bool = True) -> None:
        """A corpus in doccano's format: annotated sentences to train on, or new ones.

        They are corpora of their own, because `ner-data merge` leaves out texts that an earlier corpus has.
        """
        raw = self.work / name
        write_doccano(raw / "sentences.jsonl", records, annotated)
        splits = {"train" if annotated else NEW: Split("sentences.jsonl", gold=annotated)}
        source = load_corpus(self.args.corpus)
        write_description(replace(source, name=name, format="doccano", splits=splits, options={}))
        self.chain.run(".venv", "ner-data", "convert", name, "--raw", raw)
        if annotated:
            self.chain.run(".venv", "ner-data", "alpaca", name, "--form", self.args.form)

    def corrected(self, name: str, before: str, texts: Sequence[str]) -> None:
        """What the annotator gives back is a corpus; with the one before it is the next."""
        folder, merged = self.work / f"{name}-corrected", f"{name}-merged"
        write_doccano(folder / "corrected.jsonl", (self.gold[text] for text in texts))
        if not Path("data/corpora", f"{folder.name}.yaml").exists():
            self.chain.run(".venv", "ner-data", "init", folder.name, folder / "corrected.jsonl")
        self.chain.run(".venv", "ner-data", "convert", folder.name, "--raw", folder)
        if not Path("data/raw", merged).exists():
            self.chain.run(".venv", "ner-data", "merge", merged, before, folder.name)
        self.chain.run(".venv", "ner-data", "convert", merged)
        records = list(read_gold(load_corpus(merged).gold_file("train")))
        if len(records) != len(list(read_gold(load_corpus(before).gold_file("train")))) + len(texts):
            raise SystemExit(f"{merged}: corrected sentences were left out; see {self.chain.log}")
        self.described(name, records)

    def score(self, name: str, curve: str) -> float:
        self.chain.train(name, name)
        return self.chain.score(name, curve)

    def least_certain(self, name: str, new: Sequence[Record]) -> list[str]:
        """The new texts that the model of a corpus is least sure of, out of the file for the annotator."""
        self.described(f"{name}-new", new, annotated=False)
        run = self.chain.ask(name, f"{name}-new", NEW, "--confidence")
        folder = self.work / f"{name}-suggested"
        if not folder.exists():
            words = ["--format", "doccano", "--uncertain", self.args.step, "--output", folder]
            self.chain.run(".venv", "ner-eval", "export", f"runs/{run}", *words)
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
        walk.corrected(name, before, chosen)
        print(f"{curve:<14} {count:>6} sentences  micro F1 {walk.score(name, curve):.4f}", flush=True)
        before = name


def main() -> int:
    args = arguments()
    rng = random.Random(args.seed)
    records = list(read_gold(load_corpus(args.corpus).gold_file("train")))
    drawn = rng.sample(records, args.start + args.pool)
    labelled, new = drawn[: args.start], drawn[args.start :]
    work = Path("cache/correction")
    walk = Walk(args, Chain.of(args, work / "log"), {record.text: record for record in drawn}, work)
    walk.described("walk", labelled)
    print(
        f"{'first':<14} {args.start:>6} sentences  micro F1 {walk.score('walk', f'{SURE}; {RANDOM}'):.4f}", flush=True
    )
    rounds(walk, SURE, walk.least_certain, new)
    rounds(walk, RANDOM, lambda _, pool: [record.text for record in rng.sample(pool, args.step)], new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
