"""Find out which format a raw file has: every reader tries its first records, and the strict ones disagree."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_data.formats import Format, Sample, format_class, format_names, load_format, option_fields
from ner_data.source import Source

HEAD = 500  # records of each file that every format tries
FITS = 0.5  # of them must be readable: `convert --skip-bad` skips no more


@dataclass(frozen=True, slots=True)
class Guess:
    """What a format, with some options, makes of the first records of a file.

    Attributes:
        format: its name.
        options: those that differ from the default.
        gold: whether its entities were read; if not, the file has none in this format.
        samples: the records.
        problem: why the file as a whole, or its first bad record, cannot be read; "" if all can.
    """

    format: str
    options: Mapping[str, Any]
    gold: bool
    samples: tuple[Sample, ...] = ()
    problem: str = ""

    @property
    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if not sample.problem]

    @property
    def mentions(self) -> int:
        return sum(len(sample.entities or ()) for sample in self.good)

    @property
    def rank(self) -> tuple[float, int, int]:
        """The higher, the better it fits: the share that can be read; as few repairs as possible; mentions."""
        share = len(self.good) / len(self.samples) if self.samples else 0.0
        repairs = sum(len(sample.repairs) for sample in self.good)
        return (share if self.fits else 0.0, -repairs, self.mentions)

    @property
    def fits(self) -> bool:
        enough = bool(self.good) and len(self.good) >= FITS * len(self.samples)
        return enough and (self.mentions > 0 or not self.gold)

    @property
    def name(self) -> str:
        """Its format and options."""
        return " ".join([self.format, *(f"{key}={_text(value)}" for key, value in self.options.items())])

    @property
    def words(self) -> str:
        """The evidence, in words."""
        name = self.name
        if not self.samples:
            return f"{name}: {self.problem}"
        text = f"{name}: {len(self.good)} of the first {len(self.samples)} records can be read"
        text += f", with {self.mentions} mentions" if self.gold else ", without labels"
        return f"{text}; {self.problem}" if self.problem else text


def guesses(source: Source, format: str | None = None, options: Mapping[str, Any] | None = None) -> list[Guess]:
    """What a format, or each one, makes of a file, the best first.

    Raises:
        UserError: it cannot be read at all, whatever its format: it is missing, empty, or of another encoding.
    """
    found = [
        _guess(source, name, tried, gold)
        for name in ([format] if format else format_names())
        for tried in ([options] if options else format_class(name).variants)
        for gold in ((True, False) if format_class(name).unlabelled else (True,))
    ]
    if not source.path.is_dir() and not any(guess.samples for guess in found):
        for _ in islice(source.lines(), HEAD):  # says what is missing, or that it is no text; Parquet is none either
            pass
    # A file has no labels only if no format finds some.
    return sorted(found, key=lambda guess: (guess.gold and guess.fits, guess.rank), reverse=True)


def _guess(source: Source, name: str, options: Mapping[str, Any], gold: bool) -> Guess:
    reader: Format = load_format(name, options)
    try:
        samples = tuple(islice(reader.read(replace(source, tick=lambda _: None), gold), HEAD))
    except UserError as error:
        problem = str(error).removeprefix(f"{rooted(source.path)}:").strip()
        return Guess(name, options, gold, problem=problem)
    bad = next((sample for sample in samples if sample.problem), None)
    problem = bad.problem[1] if bad and bad.problem else ""
    if bad and not problem.startswith("line "):  # readers of several lines a record say which one it is
        problem = f"line {bad.line}: {problem}"
    return Guess(name, options, gold, samples, problem or ("" if samples else "no records"))


def detect(
    source: Source, format: str | None = None, options: Mapping[str, Any] | None = None
) -> tuple[Guess, Guess | None]:
    """The format of a file, unless it is given, and the runner-up if another one comes near.

    Raises:
        UserError: see `guesses`; no format fits; or two fit equally well and read it differently.
    """
    found = guesses(source, format, options)
    best = found[0]
    rivals = [guess for guess in found[1:] if guess.gold == best.gold]
    others = [guess for guess in rivals if guess.format != best.format]
    second = others[0] if others and others[0].samples else None
    if not best.fits:
        problem = f"no format fits; nearest is {best.words}"
        raise UserError(f"{rooted(source.path)}: {problem}; see `ner-data formats`, or name one with --format")
    for other in rivals:
        if other.rank == best.rank and _content(other) != _content(best):
            both = f"{best.name} and {other.name} both fit"
            first = next((a, b) for a, b in zip(_content(best), _content(other), strict=False) if a != b)
            differ = f"{one_line(first[0], 60)} against {one_line(first[1], 60)}"
            choice = f"choose with `{_arguments(best, other)}` or `{_arguments(other, best)}`"
            raise UserError(f"{rooted(source.path)}: {both} ({differ}); {choice}")
    return best, second


def _text(value: Any) -> str:
    """The value of an option as it is written in a command."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _arguments(guess: Guess, other: Guess) -> str:
    """How a guess is chosen, and not the other one: of variants of a format, the options that differ are named."""
    options = dict(guess.options)
    if guess.format == other.format:
        defaults = {field.name: field.default for field in option_fields(guess.format)}
        options = {key: guess.options.get(key, defaults[key]) for key in {**guess.options, **other.options}}
    words = (f" --option {shlex.quote(f'{key}={_text(value)}')}" for key, value in options.items())
    return f"--format {guess.format}{''.join(words)}"


def _content(guess: Guess) -> list[tuple[str, tuple[tuple[int, int, str], ...]]]:
    return [(s.text, tuple((e.start, e.end, e.label) for e in s.entities or ())) for s in guess.good]
