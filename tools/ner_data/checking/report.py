"""What a check found: figures of every split, and findings by class."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

MOST = 500  # findings of a class that a report holds, the most urgent ones
PLACES = 5  # that a finding names


class Kind(NamedTuple):
    """A class of findings: its title, what it means, and what to do about it."""

    title: str
    means: str
    remedy: str


# By the name that --strict takes; the most urgent first.
CLASSES: dict[str, Kind] = {
    "leakage": Kind(
        "Texts in more than one split",
        "A model that was trained on a text of dev or test is asked what it has seen: the score is too high.",
        "Remove them from train (`--fix` does).",
    ),
    "conflicts": Kind(
        "One text with different mentions",
        "Copies of a text say different things: the model is taught both, and one of them is counted as an error.",
        "Decide which copy is right, and correct the others.",
    ),
    "duplicates": Kind(
        "Texts repeated in a split",
        "A copy counts twice: in train it is learned twice, in dev and test it is scored twice.",
        "Remove the copies (`--fix` removes those of train that have the same mentions).",
    ),
    "near-duplicates": Kind(
        "Nearly the same text",
        "Templates and copies with a few other characters; between splits they leak like exact copies.",
        "Keep such texts in one split.",
    ),
    "ambiguous": Kind(
        "One surface with several labels",
        "The more one-sided, the more probable is a slip: those come first.",
        "Look at the places named, which have the rarer labels; write down the rule if both are right.",
    ),
    "unannotated": Kind(
        "An annotated surface left unannotated",
        "What is a mention nearly everywhere is probably forgotten where it is none: the most one-sided come first.",
        "Annotate the places named, or write down why they are no mentions.",
    ),
    "boundaries": Kind(
        "Mentions that begin or end with punctuation or a space",
        "An exact comparison counts the same mention without it as an error. Pairs such as 《…》 and full stops of "
        "abbreviations are left alone.",
        "Shorten the mentions (`--fix` does).",
    ),
    "half-words": Kind(
        "Mentions that end inside a word or number",
        "A boundary lies between two Latin letters, between two digits, or before a combining mark.",
        "Correct the offsets.",
    ),
    "width": Kind(
        "Full-width and half-width mixed",
        "A model that writes one form for the other fails an exact comparison.",
        "Decide for one form, in the data and in what the model will be asked.",
    ),
    "overlaps": Kind(
        "Nested or crossing mentions",
        "Most forms of answers and tags hold only one of them.",
        "Choose with `nested:` in the corpus description, or correct the offsets.",
    ),
    "characters": Kind(
        "Unusual characters",
        "Invisible characters, unusual spaces and control characters are easily lost on the way, and offsets shift.",
        "Remove them from the raw data if they mean nothing.",
    ),
    "rare": Kind(
        "Labels too rare to learn or to score",
        "A model hardly learns a label from a few mentions, and a score over a few mentions says little.",
        "Annotate more of them, or merge the label with another.",
    ),
    "drift": Kind(
        "Splits that differ",
        "A score on a split with other labels, lengths or mentions than train's says little about what was learned.",
        "Draw the splits again, at random.",
    ),
    "long": Kind(
        "Records longer than the cutoff",
        "Training cuts them or leaves them out.",
        "Raise `cutoff_len`, or cut the texts: `split_sentences:` in the corpus description.",
    ),
    "negatives": Kind(
        "No sentence without mentions",
        "A model that never saw an empty answer finds mentions everywhere.",
        "Add sentences without mentions if texts in use will have them.",
    ),
}


class Place(NamedTuple):
    """Where something is: the line of the raw file, and the characters ``[start, end)`` of the record's text.

    ``note`` says what is there, where places differ.
    """

    split: str
    source: str
    id: str = ""
    text: str = ""
    start: int = 0
    end: int = 0
    note: str = ""


class Finding(NamedTuple):
    """One finding.

    Attributes:
        what: the text, surface or label that it is about.
        detail: what is wrong with it.
        places: where, at most `PLACES` of them; ``more``: how many others there are.
    """

    what: str
    detail: str
    places: tuple[Place, ...] = ()
    more: int = 0


@dataclass(slots=True)
class Found:
    """The findings of a class.

    Attributes:
        count: how many there are; ``findings`` are the first `MOST` of them.
        notes: the same in figures, one line each.
        figures: the figures of the notes.
        skipped: why it was not looked for; empty if it was.
    """

    count: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""


@dataclass(slots=True)
class Figures:
    """The figures of a split.

    Attributes:
        file: the raw file.
        unlabelled: records without gold; ``empty``: records with gold that have no mention.
        labels: mentions of each label.
        sizes: how many records have how many mentions; ``lengths``: characters; ``tokens``: tokens.
        touching: pairs of mentions without a character in between.
        same: those of one label, which tags without B- merge.
        again: records in which an annotated surface occurs again unannotated.
        wide: full-width letters and digits; ``narrow``: half-width ones.
        over: records longer than the cutoff.
    """

    file: str
    records: int = 0
    unlabelled: int = 0
    empty: int = 0
    mentions: int = 0
    characters: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    touching: int = 0
    same: int = 0
    again: int = 0
    wide: int = 0
    narrow: int = 0
    over: int = 0


@dataclass(slots=True)
class Report:
    """All that `ner-data check` found.

    Attributes:
        labels: (id, name) in the order of the description.
        texts: distinct texts over all splits.
        tokens_of: what was counted in tokens; empty if nothing was.
        seconds: what each stage took.
    """

    corpus: str
    title: str
    labels: list[tuple[str, str]]
    splits: dict[str, Figures]
    texts: int = 0
    found: dict[str, Found] = field(default_factory=dict)
    tokenizer: str = ""
    tokens_of: str = ""
    cutoff: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        value = {one.name: getattr(self, one.name) for one in fields(self)}
        value["labels"] = dict(self.labels)
        value["splits"] = {split: _figures(one) for split, one in self.splits.items()}
        value["found"] = {name: {"title": CLASSES[name].title, **_found(one)} for name, one in self.found.items()}
        return value


def _figures(figures: Figures) -> dict[str, Any]:
    values = ((one.name, getattr(figures, one.name)) for one in fields(figures))
    return {name: dict(sorted(value.items())) if isinstance(value, Counter) else value for name, value in values}


def _found(found: Found) -> dict[str, Any]:
    findings = [
        {**finding._asdict(), "places": [place._asdict() for place in finding.places]} for finding in found.findings
    ]
    return {**{one.name: getattr(found, one.name) for one in fields(found)}, "findings": findings}
