"""All that a report shows, as plain data: the page, the Markdown and the plot only lay it out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ner_data.corpus import CORPORA, load_corpus
from ner_data.gold import read_gold
from ner_eval.metrics.comparison import Comparison
from ner_eval.metrics.counts import Counts, macro, micro
from ner_eval.metrics.loaded_run import Answered, LoadedRun
from ner_eval.metrics.protocols import tallies
from ner_eval.metrics.results import Scores
from ner_eval.reporting import breakdown
from ner_eval.reporting.mention_errors import CLASSES, CORRECT, Pair, confusion, pair
from ner_eval.reporting.suspects import suspects

# Raw answers are shown up to here: what a model repeats without end tells nothing new.
ANSWER_SHOWN = 400


def collect(run: LoadedRun, scores: Scores, training: Path | None, examples: int) -> dict[str, Any]:
    """Gather a report's data.

    Args:
        training: the gold file of the training split, for the frequencies of surfaces; None where there is none.
        examples: at most this many sentences with errors are included; the counts are always of all.
    """
    sentences = [(item, pair(item)) for item in run.answered]
    pairs = [found for _, pairs_of in sentences for found in pairs_of]
    seen = _training(training)
    kinds = Counter(found.kind for found in pairs)
    wrong = [entry for entry in sentences if entry[0].parsed.problems or any(p.kind != CORRECT for p in entry[1])]
    surfaces = Counter(surface for surface, _ in seen.elements())
    return {
        "run": _run(run),
        "labels": _labels(run),
        "sentences": len(sentences),
        "answers": asdict(scores.answers),
        "mentions": asdict(scores.readings["lenient"].mentions),
        "protocols": {protocol: _protocol(scores, protocol) for protocol in tallies()},
        "modes": {mode: _ratios(counts) for mode, counts in scores.readings["lenient"].modes.items()},
        "classes": {kind: kinds[kind] for kind in CLASSES},
        "correct": kinds[CORRECT],
        "confusion": confusion(iter(pairs), run.labels),
        "breakdowns": {
            "sentence_length": _groups(breakdown.by_sentence_length((i.record.text, p) for i, p in sentences)),
            "mention_length": _groups(breakdown.by_mention_length(pairs)),
            "frequency": _groups(breakdown.by_frequency(pairs, surfaces)) if training else None,
        },
        "suspects": [asdict(s) for s in suspects(((i.record.id, p) for i, p in sentences), seen)],
        "wrong_sentences": len(wrong),
        "examples": [_example(item, found) for item, found in wrong[:examples]],
    }


def comparison(compared: Comparison, one: LoadedRun, other: LoadedRun, examples: int) -> dict[str, Any]:
    """What a second run has over the first: its figures, the difference, and the sentences they differ in.

    Both runs must hold the same sentences in the same order (see `ner_eval.metrics.comparison.common`).
    """
    difference = compared.runs[1].difference
    if difference is None:
        raise ValueError("runs without common sentences cannot be compared")
    counts = [item.scores.counts(compared.protocol, compared.reading) for item in compared.runs]
    fixed, broken = [], []
    for item, its in zip(one.answered, other.answered, strict=True):
        before, after = pair(item), pair(its)
        right = [all(p.kind == CORRECT for p in pairs) for pairs in (before, after)]
        if right == [False, True]:
            fixed.append(_example(item, before))
        if right == [True, False]:
            broken.append(_example(its, after))
    return {
        "name": other.name,
        "model": other.manifest.model,
        "sentences": len(one.answered),
        "f1": [item.scores.headline(compared.protocol, compared.reading) for item in compared.runs],
        "difference": asdict(difference),
        "labels": [[label, *(by_label[label].f1 for by_label in counts)] for label in one.labels],
        "fixed": {"count": len(fixed), "examples": fixed[:examples]},
        "broken": {"count": len(broken), "examples": broken[:examples]},
    }


def _run(run: LoadedRun) -> dict[str, Any]:
    manifest = run.manifest
    kept = ("model", "corpus", "split", "gold", "sampling", "selection", "tool_versions")
    value: dict[str, Any] = {name: getattr(manifest, name) for name in kept}
    return {"name": run.name, **value, "prompt": manifest.prompt.fingerprint}


def _labels(run: LoadedRun) -> list[list[str]]:
    """Each label's id and Chinese name (the id again, where the corpus is not described here)."""
    names: dict[str, str] = {}
    if (CORPORA / f"{run.manifest.corpus}.yaml").is_file():
        names = {label.id: label.name for label in load_corpus(run.manifest.corpus).labels}
    return [[label, names.get(label, label)] for label in run.labels]


def _training(path: Path | None) -> Counter[tuple[str, str]]:
    if path is None:
        return Counter()
    return Counter((e.text, e.label) for record in read_gold(path) for e in record.entities or ())


def _protocol(scores: Scores, protocol: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for reading, counted in scores.readings.items():
        by_label = counted.counts[protocol]
        precision, recall, f1 = macro(by_label, scores.labels)
        value[reading] = {
            "labels": {label: _ratios(counts) for label, counts in by_label.items()},
            "micro": _ratios(micro(by_label)),
            "macro": {"precision": precision, "recall": recall, "f1": f1},
            "intervals": scores.intervals.get(reading, {}).get(protocol),
        }
    return value


def _ratios(counts: Any) -> dict[str, Any]:
    return {**asdict(counts), "precision": counts.precision, "recall": counts.recall, "f1": counts.f1}


def _groups(groups: dict[str, Counts]) -> list[list[Any]]:
    return [[name, _ratios(counts)] for name, counts in groups.items()]


def _example(item: Answered, pairs: Iterable[Pair]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": item.record.id,
        "text": item.record.text,
        "pairs": [
            [
                p.kind,
                [p.gold.start, p.gold.end, p.gold.label] if p.gold else None,
                [*(p.predicted.span or (None, None)), p.predicted.label, p.predicted.text] if p.predicted else None,
            ]
            for p in pairs
        ],
    }
    if item.parsed.problems:
        value["problems"] = [*item.parsed.problems, *(["cut"] if item.cut else [])]
        value["answer"] = item.answer[:ANSWER_SHOWN]
    return value
