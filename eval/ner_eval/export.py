"""What a model found as labelled data, to correct elsewhere: ``ner-eval export RUN --format F --output DIR``.

``RUN`` is a run, or a file that ``ner-eval extract --output`` wrote. If the model was asked with ``--confidence``,
formats that have a place for scores get them, and ``--uncertain N`` writes the N texts that the model was least sure
of, the least sure one first. (Votes, of ``extract --samples``, are scores of entities, and say nothing of a text in
which none was named.) ``--suspects`` writes gold instead: the records of a run with likely annotation errors,
those of the report, to be annotated again.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ner_common.commands import positive
from ner_common.errors import UserError, counted, rooted
from ner_common.files import whole_folder
from ner_data.arguments import add_format_arguments, parse_options
from ner_data.corpus import load_corpus
from ner_data.described import Corpus, Label
from ner_data.export import Exported, summary
from ner_data.export import export as export_records
from ner_data.gold import Entity, Record
from ner_eval.arguments import add_threshold_arguments, wanted_scores
from ner_eval.confidence.tokens import certainty
from ner_eval.confidence.trust import Trust, Wanted
from ner_eval.metrics.judged import scored, trust_of
from ner_eval.metrics.loaded_run import Answered, answer, duplicates, load_run, read_run
from ner_eval.report import training_gold
from ner_eval.reporting.data import training_surfaces
from ner_eval.reporting.mention_errors import pair
from ner_eval.reporting.suspects import suspects
from ner_eval.runs.extracted import Text, read_extracted
from ner_eval.runs.manifest import run_folder

T = TypeVar("T")
REFUSED, UNANSWERED, SURE = "refused by the server", "no answer yet", "the model is surer of them"
RIGHT = "no likely annotation error in them"
UNSURE = "lower scores than wanted"
UNSCORED = "has no scores; extract with --confidence"
VOTED = "its scores are votes, which do not rank texts; extract with --confidence, without --samples,"


@dataclass(slots=True)
class Predicted:
    """What became of a run's records.

    Attributes:
        path: the file, or the folder, without suffix.
        written: what became of those that were answered.
        skipped: how many were not, or are not wanted, by reason.
        left_out: how many mentions of answers are not written, by reason.
    """

    path: Path
    written: Exported = field(default_factory=Exported)
    skipped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def export(
    run: str | Path,
    output: Path,
    *,
    format: str,
    options: Mapping[str, Any] | None = None,
    nested: str = "keep",
    skip_bad: bool = False,
    gold: Path | None = None,
    partial: bool = False,
    uncertain: int = 0,
    wanted: Wanted | None = None,
) -> Predicted:
    """Write the texts that a run asked for with the mentions of the answers, as ``output/SPLIT`` in a format.

    A mention is where scoring finds it. Mentions that are not in the text, labels that were not asked for and
    repetitions are left out.

    Args:
        run: a name in ``runs/``, or a folder.
        output: a new folder.
        format, options, nested, skip_bad: see `ner_data.export`.
        gold: the gold file, if it has moved since the run; it may have no entities.
        partial: write what is answered even if other records have no answer yet.
        uncertain: write so many records, those that the model was least sure of (`certainty`), the least sure first.
        wanted: which mentions are kept by their scores; those whose scores are unknown are.

    Raises:
        UserError: see `ner_data.export` and `load_run`; the folder exists; or the run has no scores, or none with
            which the precision is reached.
    """
    folder = run_folder(run)
    manifest, records, predictions = read_run(folder, gold)
    done = Predicted(output / manifest.split)
    missing = sum(record.id not in predictions for record in records)
    if missing and not partial:
        problem = f"{missing} of {len(records)} records have no answer yet"
        raise UserError(f"{rooted(folder)}: {problem}; run the same `ner-eval predict` again, or use --partial")
    if missing:
        done.skipped[UNANSWERED] = missing
    kept = [record for record in records if record.id in predictions and not predictions[record.id].error]
    if refused := len(records) - missing - len(kept):
        done.skipped[REFUSED] = refused
    has_scores = bool(manifest.sampling.get("logprobs"))
    if (uncertain or wanted) and not has_scores:
        raise UserError(f"{rooted(folder)}: has no scores; predict with --confidence into another --run")
    if uncertain:
        kept = _least_certain(kept, lambda record: certainty(predictions[record.id].tokens), uncertain, done)
    trust = trust_of(manifest, wanted or Wanted()) if has_scores else Trust()
    answers = (answer(record, predictions[record.id], manifest) for record in kept)
    scores: dict[str, dict[Entity, float]] = {}
    predicted = _predicted(answers, manifest.prompt.labels, trust, scores, done)
    with whole_folder(output) as new:
        target = new / manifest.split
        done.written = export_records(
            predicted, load_corpus(manifest.corpus), target, format=format, options=options, nested=nested,
            skip_bad=skip_bad, scores=scores,
        )  # fmt: skip
    return done


def export_extracted(
    file: Path,
    output: Path,
    *,
    format: str,
    options: Mapping[str, Any] | None = None,
    nested: str = "keep",
    skip_bad: bool = False,
    uncertain: int = 0,
    threshold: float | None = None,
) -> Predicted:
    """Write the texts in a file of ``ner-eval extract --output`` with their entities, as ``output/NAME`` in a format.

    Args:
        file: NAME.jsonl, with its manifest.
        output, format, options, nested, skip_bad, uncertain: see `export`.
        threshold: keep entities with a score of at least that, as it is in the file, and those without a score.

    Raises:
        UserError: see `ner_data.export` and `read_extracted`; the folder exists; or the file has no scores.
    """
    asked, texts = read_extracted(file)
    if threshold is not None and not asked.confidence:
        raise UserError(f"{rooted(file)}: {UNSCORED} into another --output")
    done, kept = Predicted(output / file.stem), []
    for text in texts:
        if text.record.entities is None:
            done.skipped[REFUSED] += 1
        else:
            kept.append(text)
    if uncertain:
        if kept and all(text.certainty == -inf for text in kept):
            problem = VOTED if asked.voted else UNSCORED
            raise UserError(f"{rooted(file)}: {problem} into another --output")
        kept = _least_certain(kept, lambda text: text.certainty, uncertain, done)
    if threshold is not None:
        kept = [_surer(text, threshold, done) for text in kept]
    labels = asked.labels or sorted({entity.label for text in kept for entity in text.record.gold})
    corpus = Corpus(file.stem, "", "", "", "gold", {}, tuple(Label(label, label) for label in labels))
    scores = {text.record.id: text.scores for text in kept}
    with whole_folder(output) as new:
        done.written = export_records(
            (text.record for text in kept), corpus, new / file.stem, format=format, options=options, nested=nested,
            skip_bad=skip_bad, scores=scores,
        )  # fmt: skip
    return done


def export_suspects(
    run: str | Path,
    output: Path,
    *,
    format: str,
    options: Mapping[str, Any] | None = None,
    nested: str = "keep",
    skip_bad: bool = False,
    gold: Path | None = None,
    train: Path | None = None,
    partial: bool = False,
) -> Predicted:
    """Write the gold of records in which it is probably wrong (`ner_eval.reporting.suspects`), most convincing first.

    Args:
        run, output, format, options, nested, skip_bad, gold, partial: see `export`.
        train: the training split's gold file; by default ``train.jsonl`` in the folder of the gold file.

    Raises:
        UserError: see `export`; the split has no gold, or no likely error.
    """
    loaded = load_run(run, gold=gold, partial=partial)
    manifest = loaded.manifest
    training = training_surfaces(training_gold(train, gold or Path(manifest.gold)))
    found = suspects(((item.record.id, pair(item)) for item in loaded.answered), training)
    records = {item.record.id: item.record for item in loaded.answered}
    wanted = list(dict.fromkeys(id for suspect in found for id in suspect.ids))
    if not wanted:
        raise UserError(f"{rooted(loaded.folder)}: no likely annotation error in it, so there is nothing to write")
    done = Predicted(output / manifest.split)
    done.skipped[RIGHT] = len(records) - len(wanted)
    with whole_folder(output) as new:
        target = new / manifest.split
        chosen = (records[id] for id in wanted)
        done.written = export_records(
            chosen,
            load_corpus(manifest.corpus),
            target,
            format=format,
            options=options,
            nested=nested,
            skip_bad=skip_bad,
        )
    return done


def _surer(text: Text, threshold: float, done: Predicted) -> Text:
    """A text without the entities whose scores are lower; counts them."""
    low = {entity for entity, score in text.scores.items() if score < threshold}
    done.left_out[UNSURE] += len(low)
    entities = tuple(entity for entity in text.record.gold if entity not in low)
    return replace(text, record=msgspec.structs.replace(text.record, entities=entities))


def _least_certain(texts: Iterable[T], certainty: Callable[[T], float], count: int, done: Predicted) -> list[T]:
    """The texts that the model was least sure of, the least sure one first; counts the others."""
    ranked = sorted(texts, key=certainty)
    done.skipped[SURE] = len(ranked[count:])
    return ranked[:count]


def _predicted(
    answers: Iterable[Answered],
    labels: tuple[str, ...],
    trust: Trust,
    scores: dict[str, dict[Entity, float]],
    done: Predicted,
) -> Iterator[Record]:
    """Records whose entities are those of the answers; adds their scores, and counts what is left out."""
    for answered in answers:
        entities = []
        found = zip(answered.parsed.mentions, answered.spans, duplicates(answered), strict=True)
        for mention, span, repeated in found:
            if span is None:
                done.left_out["not in the text"] += 1
            elif mention.label not in labels:
                done.left_out["label that was not asked for"] += 1
            elif repeated:
                done.left_out["repeated"] += 1
            else:
                entities.append(Entity(*span, mention.label, mention.text))
        record = answered.record
        if answered.tokens:
            known = {entity: trust.score(raw) for entity, raw in scored(answered, labels).items()}
            scores[record.id] = {entity: score for entity, score in known.items() if trust.keeps(entity.label, score)}
            entities = [entity for entity in entities if entity not in known or entity in scores[record.id]]
            done.left_out[UNSURE] += len(known) - len(scores[record.id])
        yield Record(record.id, record.text, tuple(sorted(entities)), record.source)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name in runs/, a folder, or a file that `ner-eval extract --output` wrote")
    add_format_arguments(parser)
    parser.add_argument(
        "--gold", type=Path, metavar="FILE", help="read the texts from FILE, if their file has moved since the run"
    )
    parser.add_argument(
        "--partial", action="store_true", help="write the answered records even if others have no answer yet"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--suspects",
        action="store_true",
        help="write the gold of the records in which it is probably wrong, as the report lists them",
    )
    parser.add_argument(
        "--train",
        type=Path,
        metavar="FILE",
        help="gold of the training split, to compare with for --suspects (default: train.jsonl beside the run's gold)",
    )
    chosen.add_argument(
        "--uncertain",
        type=positive(int),
        default=0,
        metavar="N",
        help="write only the N records that the model was least sure of, the least sure first (needs --confidence)",
    )
    add_threshold_arguments(parser)


def run(args: argparse.Namespace) -> None:
    if args.train and not args.suspects:
        raise UserError("--train is for --suspects; leave it out")
    how = {name: getattr(args, name) for name in ("format", "nested", "skip_bad")}
    how["options"] = parse_options(args.format, args.option)
    wanted = wanted_scores(args)
    if wanted and args.suspects:
        raise UserError("--suspects writes gold, which has no scores; leave out --threshold and --precision")
    if (file := Path(args.run)).is_file():
        if args.suspects or args.gold or args.partial:
            raise UserError("--suspects, --gold and --partial are for runs; leave them out")
        if wanted.precision is not None:
            raise UserError("--precision is for runs; give a --threshold, or extract with --precision")
        done = export_extracted(file, args.output, uncertain=args.uncertain, threshold=args.threshold, **how)
    elif args.suspects:
        done = export_suspects(args.run, args.output, train=args.train, gold=args.gold, partial=args.partial, **how)
    else:
        given = {"gold": args.gold, "partial": args.partial, "uncertain": args.uncertain, "wanted": wanted}
        done = export(args.run, args.output, **given, **how)
    print(summary(done.path, done.written))
    for what, counts in (("records", +done.skipped), ("mentions", +done.left_out)):
        if counts:
            print(f"note: {what} that are not written: {counts.total()} ({counted(counts)})")
