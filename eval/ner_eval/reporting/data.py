"""Everything that a report shows, as plain data: the page, the Markdown and the plot only lay it out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import structs

from ner_data.corpus import CORPORA, load_corpus
from ner_data.described import Corpus
from ner_data.gold import read_gold
from ner_eval.metrics.comparison import Comparison
from ner_eval.metrics.counts import Counts, macro, micro
from ner_eval.metrics.loaded_run import Answered, LoadedRun
from ner_eval.metrics.protocols import MODES, TEXT, Protocol, by_label, tallies
from ner_eval.metrics.results import Scores
from ner_eval.reporting import breakdown, reconciliation
from ner_eval.reporting.mention_errors import CLASSES, CORRECT, Pair, confusion, pair
from ner_eval.reporting.run_facts import run_facts, selection
from ner_eval.reporting.suspects import suspects
from ner_eval.reporting.wording import LANGUAGES, wording

# Raw answers are cut after this many characters: endless repetition tells nothing new.
ANSWER_SHOWN = 400
Paired = tuple[Answered, list[Pair]]


def collect(run: LoadedRun, scores: Scores, training: Path | None, examples: int) -> dict[str, Any]:
    """Gather a report's data.

    Args:
        training: the gold file of the training split, for the frequencies of surfaces; None if there is none.
        examples: at most this many sentences with errors are included; the counts always cover all.
    """
    sentences = [(item, pair(item)) for item in run.answered]
    pairs = [found for _, pairs_of in sentences for found in pairs_of]
    seen = training_surfaces(training)
    corpus = _corpus(run)
    wrong = [entry for entry in sentences if entry[0].parsed.problems or not _all_right(entry[1])]
    data = {
        "run": _run(run, corpus),
        "labels": _labels(run, corpus),
        "sentences": len(sentences),
        "answers": structs.asdict(scores.answers),
        "mentions": structs.asdict(scores.readings["lenient"].mentions),
        **_figures(scores),
        **_errors(pairs, run.labels),
        "breakdowns": _breakdowns(sentences, pairs, seen if training else None),
        "suspects": [asdict(s) for s in suspects(((i.record.id, p) for i, p in sentences), seen)],
        "wrong_sentences": len(wrong),
        "examples": [_example(item, found) for item, found in wrong[:examples]],
    }
    form_only = sum(_all_right(found) and not item.error for item, found in wrong)
    return data | {"sums": _sums(data, scores, form_only)}


def comparison(compared: Comparison, one: LoadedRun, other: LoadedRun, examples: int) -> dict[str, Any]:
    """A second run against the first: figures, their difference, and the sentences that only one of them gets right.

    Both runs must hold the same sentences in the same order (see `ner_eval.metrics.comparison.common`).
    """
    difference = compared.runs[1].difference
    if difference is None:
        raise ValueError("runs without common sentences cannot be compared")
    counts = [item.scores.counts(compared.protocol, compared.reading) for item in compared.runs]
    fixed, broken, both = [], [], 0
    for item, its in zip(one.answered, other.answered, strict=True):
        before, after = pair(item), pair(its)
        right = [_all_right(pairs) for pairs in (before, after)]
        both += all(right)
        if right == [False, True]:
            fixed.append(_example(item, before))
        if right == [True, False]:
            broken.append(_example(its, after))
    sentences = len(one.answered)
    return {
        "name": other.name,
        "model": other.manifest.model,
        "sentences": sentences,
        "refused": compared.runs[1].scores.answers.refused,
        "f1": [item.scores.headline(compared.protocol, compared.reading) for item in compared.runs],
        "difference": asdict(difference),
        "labels": [[label, *(_label_ratios(by_label[label])["f1"] for by_label in counts)] for label in one.labels],
        "fixed": {"count": len(fixed), "examples": fixed[:examples]},
        "broken": {"count": len(broken), "examples": broken[:examples]},
        "sums": reconciliation.of_comparison(sentences, both, len(fixed), len(broken), one.name, other.name),
    }


def _corpus(run: LoadedRun) -> Corpus | None:
    """The description of the run's corpus; None if this machine has none."""
    name = run.manifest.corpus
    return load_corpus(name) if (CORPORA / f"{name}.yaml").is_file() else None


def _run(run: LoadedRun, corpus: Corpus | None) -> dict[str, Any]:
    manifest = run.manifest
    chosen = selection(manifest.selection)
    return {
        "name": run.name,
        "model": manifest.model,
        "corpus": manifest.corpus,
        "split": manifest.split,
        "selection": None if chosen["say"] == "selection_all" else chosen,
        "facts": run_facts(run, corpus),
        "prompt_text": f"{manifest.prompt.system}\n\n{manifest.prompt.instruction}",
    }


def _labels(run: LoadedRun, corpus: Corpus | None) -> list[list[str]]:
    """Each label's id and Chinese name (the id again if the corpus is not described here)."""
    names = {label.id: label.name for label in corpus.labels} if corpus else {}
    return [[label, names.get(label, label)] for label in run.labels]


def training_surfaces(path: Path | None) -> Counter[tuple[str, str]]:
    """How often the gold file of a training split has each (surface, label); empty without one."""
    if path is None:
        return Counter()
    return Counter((e.text, e.label) for record in read_gold(path) for e in record.entities or ())


def _figures(scores: Scores) -> dict[str, Any]:
    """The protocols in the order shown, the leading one first, and their counts."""
    listed = [TEXT, *(protocol for protocol in by_label().values() if protocol is not TEXT)]
    return {
        "headlines": [_headline(protocol, scores) for protocol in listed],
        "protocols": {key: _counted(scores, key) for key in tallies()},
        "modes": {mode: _ratios(counts) for mode, counts in scores.readings["lenient"].modes.items()},
        "modes_title": _title(MODES, scores.corpus),
    }


def _headline(protocol: Protocol, scores: Scores) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "title": _title(protocol, scores.corpus),
        "average": protocol.average,
        "counted_as": protocol.counted_as,
        "f1": {reading: scores.headline(protocol, reading) for reading in scores.readings},
        "interval": scores.intervals.get("lenient", {}).get(protocol.counted_as, {}).get(protocol.average),
    }


def _title(protocol: Protocol, corpus: str) -> dict[str, str]:
    """A protocol's title by language. The official score of one corpus is not called that for another."""
    if protocol.corpus in (None, corpus):
        return {"zh": protocol.title_zh, "en": protocol.title}
    return {language: wording(language)("average_of", protocol=protocol.counted_as) for language in LANGUAGES}


def _counted(scores: Scores, key: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for reading, counted in scores.readings.items():
        by_label = counted.counts[key]
        precision, recall, f1 = macro(by_label, scores.labels)
        value[reading] = {
            "labels": {label: _label_ratios(counts) for label, counts in by_label.items()},
            "micro": _ratios(micro(by_label)),
            "macro": {"precision": precision, "recall": recall, "f1": f1},
            "intervals": scores.intervals.get(reading, {}).get(key),
            "sums": reconciliation.of_protocol(key, micro(by_label), counted.mentions),
        }
    return value


def _errors(pairs: Sequence[Pair], labels: tuple[str, ...]) -> dict[str, Any]:
    kinds = Counter(found.kind for found in pairs)
    return {
        "classes": {kind: kinds[kind] for kind in CLASSES},
        "correct": kinds[CORRECT],
        "confusion": confusion(iter(pairs), labels),
    }


def _breakdowns(
    sentences: Sequence[Paired], pairs: Sequence[Pair], training: Counter[tuple[str, str]] | None
) -> dict[str, Any]:
    frequency = None
    if training is not None:
        surfaces: Counter[str] = Counter()
        for (surface, _), number in training.items():
            surfaces[surface] += number
        frequency = _groups(breakdown.by_frequency(pairs, surfaces))
    return {
        "sentence_length": _groups(breakdown.by_sentence_length((i.record.text, p) for i, p in sentences)),
        "mention_length": _groups(breakdown.by_mention_length(pairs)),
        "frequency": frequency,
    }


def _sums(data: dict[str, Any], scores: Scores, form_only: int) -> dict[str, Any]:
    """How the counts of each section add up (`ner_eval.reporting.reconciliation`)."""
    lenient, classes, correct = scores.readings["lenient"], data["classes"], data["correct"]
    return {
        "classes": reconciliation.of_classes(classes, correct, lenient.mentions),
        "confusion": reconciliation.of_confusion(data["confusion"], classes, correct),
        "breakdowns": reconciliation.of_groups(lenient.mentions, correct),
        "modes": reconciliation.of_modes(lenient.modes["strict"], classes, correct, lenient.mentions),
        "examples": reconciliation.of_sentences(data["sentences"], data["wrong_sentences"], form_only),
        "answers": reconciliation.of_answers(scores.answers),
    }


def _all_right(pairs: Iterable[Pair]) -> bool:
    return all(found.kind == CORRECT for found in pairs)


def _ratios(counts: Any) -> dict[str, Any]:
    return {**structs.asdict(counts), "precision": counts.precision, "recall": counts.recall, "f1": counts.f1}


def _label_ratios(counts: Counts) -> dict[str, Any]:
    """As `_ratios`, but None for a label without gold and predictions, whose F1 is undefined (0 in Macro Avg.)."""
    undefined = dict.fromkeys(("precision", "recall", "f1")) if counts == Counts() else {}
    return _ratios(counts) | undefined


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
        value["answer"] = (item.error or item.answer)[:ANSWER_SHOWN]
    return value
