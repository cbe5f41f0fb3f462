"""``ner-eval report RUN``: report.html (one file, no network), report.md and f1.png into the run's folder."""

import argparse
from pathlib import Path

from ner_data.errors import UserError, rooted
from ner_data.files import write_atomically
from ner_eval import load
from ner_eval.arguments import positive
from ner_eval.load import Loaded
from ner_eval.scores import SCORES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name in runs/, or a folder")
    parser.add_argument("--compare", metavar="RUN", help="show what this other run does better and worse")
    parser.add_argument("--train", type=Path, metavar="FILE", help="training gold (default: beside the gold)")
    parser.add_argument(
        "--examples", type=positive(int), default=2000, metavar="N", help="sentences with errors shown (default: 2000)"
    )
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="language the page opens in (default: zh)")
    parser.add_argument(
        "--png",
        action=argparse.BooleanOptionalAction,
        help="the plot f1.png, which needs matplotlib and a Chinese font (default: where there are)",
    )
    load.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from ner_eval import markdown, page, plot, report_data
    from ner_eval.count import count

    loaded = load.load(args.run, args)
    # What can fail for want of something on this machine fails before anything is written.
    font, without_font = _font(args.png)
    scores = count(loaded)
    training = training_gold(args, loaded)
    data = report_data.collect(loaded, scores, training, args.examples)
    data["comparison"] = _comparison(args, loaded) if args.compare else None
    written = [loaded.folder / name for name in ("report.html", "report.md")]
    for path, text in zip(written, (page.render(data, args.lang), markdown.render(data)), strict=True):
        with write_atomically(path) as file:
            file.write(text)
    scores.save(loaded.folder / SCORES)
    if font is not None:
        written.append(loaded.folder / "f1.png")
        plot.draw(data, written[-1], font)
    shown = len(data["examples"])
    print(f"{data['wrong_sentences']} of {data['sentences']} sentences have errors, {shown} of them are shown")
    if training is None:
        print("no gold of a training split (name it with --train): nothing on how often training has seen a surface")
    if without_font:
        print(f"no f1.png: {without_font}")
    for path in written:
        print(rooted(path))


def _font(wanted: bool | None) -> tuple[Path | None, str]:
    """The font of the plot, or None and why; an error only if the plot was asked for."""
    from ner_eval import plot

    if wanted is False:
        return None, ""
    try:
        return plot.chinese_font(), ""
    except UserError as error:
        if wanted:
            raise
        return None, str(error)


def training_gold(args: argparse.Namespace, loaded: Loaded) -> Path | None:
    """The gold file of the training split: the one named, else ``train.jsonl`` beside the gold, else None.

    Raises:
        UserError: the file named does not exist.
    """
    if args.train is not None:
        if not args.train.is_file():
            raise UserError(f"{rooted(args.train)}: no such file; --train names the gold file of the training split")
        return Path(args.train)
    path = Path(args.gold or loaded.manifest.gold).with_name("train.jsonl")
    return path if path.is_file() else None


def _comparison(args: argparse.Namespace, loaded: Loaded) -> dict[str, object]:
    from ner_eval import compare, report_data

    other = load.load(args.compare, args)
    compare.check_same([loaded, other])
    one, two = compare.common([loaded, other], args.partial)
    compared = compare.paired([one, two], "text", "lenient")
    return report_data.comparison(compared, one, two, args.examples)
