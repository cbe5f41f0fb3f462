"""``ner-eval report RUN``: writes report.html (one file, no network), report.md and f1.png into the run's folder."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.commands import positive
from ner_common.errors import UserError, rooted
from ner_common.files import write_atomically
from ner_eval.arguments import add_threshold_arguments, wanted_scores
from ner_eval.confidence.trust import Wanted
from ner_eval.metrics.comparison import check_same, common, compare_loaded
from ner_eval.metrics.judged import judge
from ner_eval.metrics.loaded_run import LoadedRun, load_run
from ner_eval.metrics.protocols import TEXT
from ner_eval.metrics.results import SCORES, score_run
from ner_eval.reporting import data, html, markdown, plot
from ner_eval.reporting.confidence import confidence
from ner_eval.reporting.fonts import Face, chinese_face
from ner_eval.reporting.wording import LANGUAGES
from ner_eval.run_arguments import add_run_arguments, loading


@dataclass(frozen=True, slots=True)
class Report:
    """The files written; the number of sentences, of those with errors and of those shown; what is missing and why."""

    files: tuple[Path, ...]
    sentences: int
    wrong: int
    shown: int
    missing: tuple[str, ...]


def report(
    run: str | Path,
    *,
    compare: str | Path | None = None,
    train: Path | None = None,
    examples: int = 2000,
    lang: str = "zh",
    png: bool | None = None,
    wanted: Wanted | None = None,
    gold: Path | None = None,
    partial: bool = False,
    allow_other_labels: bool = False,
) -> Report:
    """Write ``report.html``, ``report.md`` and, if it can be drawn, ``f1.png`` into a run's folder.

    Args:
        run: a name in ``runs/``, or a folder.
        compare: another run, to show what it does better or worse.
        train: the training split's gold file; by default ``train.jsonl`` in the folder of the gold file.
        examples: maximum number of sentences with errors to show.
        lang: zh or en, for the Markdown, the plot, and the page when it opens.
        png: True requires the plot, False omits it, None draws it if matplotlib and a Chinese font are there.
        wanted: which entities are kept by their scores, to show what is lost; needs a run with scores.
        gold, partial, allow_other_labels: as for `load_run`.

    Raises:
        UserError: a run cannot be loaded or compared, a file is missing, or a required plot cannot be drawn; then
            nothing is written.
    """
    if lang not in LANGUAGES:
        raise UserError(f"{lang}: no such language of the report; use {' or '.join(LANGUAGES)}")
    options: dict[str, Any] = {"partial": partial, "allow_other_labels": allow_other_labels}
    loaded = load_run(run, gold=gold, **options)
    # Check for what this machine may lack before writing anything.
    font, without_font = _font(png)
    scores = score_run(loaded)
    training = training_gold(train, gold or Path(loaded.manifest.gold))
    contents = data.collect(loaded, scores, training, examples)
    judged = judge(loaded, wanted)
    contents["confidence"] = confidence(judged) if judged else None
    contents["comparison"] = None
    if compare:
        other = load_run(compare, gold=gold, **options)
        contents["comparison"] = _comparison(loaded, other, partial, examples)
    written = [loaded.folder / name for name in ("report.html", "report.md")]
    for path, text in zip(written, (html.render(contents, lang), markdown.render(contents, lang)), strict=True):
        with write_atomically(path) as file:
            file.write(text)
    scores.save(loaded.folder / SCORES)
    if font is not None:
        written.append(loaded.folder / "f1.png")
        plot.draw(contents, written[-1], font, lang)
    missing = []
    if training is None:
        missing.append("no gold of a training split (name it with --train): no F1 by occurrences in training")
    if without_font:
        missing.append(f"no f1.png: {without_font}")
    counts = (contents["sentences"], contents["wrong_sentences"], len(contents["examples"]))
    return Report(tuple(written), *counts, tuple(missing))


def _font(wanted: bool | None) -> tuple[Face | None, str]:
    """The font of the plot, or None and why; an error only if the plot was asked for."""
    if wanted is False:
        return None, ""
    try:
        return chinese_face(), ""
    except UserError as error:
        if wanted:
            raise
        return None, str(error)


def training_gold(named: Path | None, gold: Path) -> Path | None:
    """The gold file of the training split: the one named, else ``train.jsonl`` in the same folder, else None.

    Raises:
        UserError: the file named does not exist.
    """
    if named is not None:
        if not named.is_file():
            raise UserError(f"{rooted(named)}: no such file; --train names the gold file of the training split")
        return named
    path = gold.with_name("train.jsonl")
    return path if path.is_file() else None


def _comparison(loaded: LoadedRun, other: LoadedRun, partial: bool, examples: int) -> dict[str, object]:
    check_same([loaded, other])
    one, two = common([loaded, other], partial)
    return data.comparison(compare_loaded([one, two], TEXT, "lenient"), one, two, examples)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name in runs/, or a folder")
    parser.add_argument("--compare", metavar="RUN", help="show what this other run does better or worse")
    parser.add_argument(
        "--train",
        type=Path,
        metavar="FILE",
        help="gold file of the training split (default: train.jsonl in the folder of the gold file)",
    )
    parser.add_argument(
        "--examples", type=positive(int), default=2000, metavar="N", help="sentences with errors shown (default: 2000)"
    )
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        default="zh",
        help="language of report.md and f1.png, and of the page when it opens (default: zh)",
    )
    parser.add_argument(
        "--png",
        action=argparse.BooleanOptionalAction,
        help="draw f1.png, which needs matplotlib and a Chinese font (default: draw it if both are available)",
    )
    add_run_arguments(parser)
    add_threshold_arguments(parser)


def run(args: argparse.Namespace) -> None:
    chosen = {name: getattr(args, name) for name in ("compare", "train", "examples", "lang", "png")}
    written = report(args.run, **chosen, wanted=wanted_scores(args), **loading(args))
    print(f"{written.wrong} of {written.sentences} sentences have errors, {written.shown} of them are shown")
    for line in (*written.missing, *map(rooted, written.files)):
        print(line)
