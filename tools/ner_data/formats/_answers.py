"""What files of prompts with our answers share: the text that is asked about, and the mentions of an answer in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ner_common.errors import UserError, escaped, one_line
from ner_data.alignment import align
from ner_data.answers import form_names
from ner_data.described import Corpus
from ner_data.formats._records import Bad, JSONRecords, chosen
from ner_data.gold import Entity, Record
from ner_data.prompt import AGAIN, SYSTEM, PromptSpec, instruction, unescape

FORM = "json_list"
POLICIES = (
    "An answer names surfaces, not places: they are looked for from left to right, as in a model's answer.",
    "A record whose answer would be read back differently is refused, unless exact is false.",
)
INEXACT = (
    "its answer would be read back with other mentions or places; write it all the same with --option exact=false"
)


@dataclass(frozen=True)
class AnsweredRecords(JSONRecords):
    """Records that are a prompt and the answer to it.

    Attributes:
        form: the answer form, a module of `ner_data.answers`.
        exact: refuse to write a record whose answer does not tell its mentions and their places; to train on, any
            answer will do.
        definitions: write the definitions of the labels into the instruction.
    """

    form: str = FORM
    exact: bool = True
    definitions: bool = False

    nested = True
    variants = ({}, *({"form": name} for name in form_names() if name != FORM))
    policies = POLICIES

    def __post_init__(self) -> None:
        chosen("form", self.form, *form_names())

    def refusal(self, record: Record) -> tuple[str, str] | None:
        if (problem := super().refusal(record)) or not (self.exact and record.entities):
            return problem
        try:
            told = entities_in(_reader(self.form).render(record), record.text, self.form)
        except Bad:
            told = ()
        return None if told == record.entities else ("inexact answer", INEXACT)

    def spec(self, corpus: Corpus) -> PromptSpec:
        """What a model is asked with; its bounds are not known."""
        definitions = [label.definition for label in corpus.labels] if self.definitions else []
        if self.definitions and not any(definitions):
            raise UserError(f"data/corpora/{corpus.name}.yaml: no label has a definition; leave definitions out")
        names = [(label.id, label.name) for label in corpus.labels]
        text = instruction(names, self.form, definitions=definitions)
        return PromptSpec(corpus.name, SYSTEM, text, tuple(label.id for label in corpus.labels), self.form, 1)

    def labels_of(self, answers: Iterable[Any]) -> set[str]:
        """The labels that answers name, as far as they can be read."""
        parsed = (_reader(self.form).parse(answer, "") for answer in answers if isinstance(answer, str))
        return {mention.label for found in parsed for mention in found.mentions if mention.label}


@cache
def _reader(form: str) -> PromptSpec:
    """A spec that only renders and parses."""
    return PromptSpec("", "", "", ("",), form, 1)


def asked_text(given: str) -> str:
    """The text that `PromptSpec.input` wrote: given once or twice, with control tokens escaped.

    Raises:
        Bad: it has no text.
    """
    between = f"\n{AGAIN}\n"
    once = given[: (len(given) - len(between)) // 2]
    text = unescape(once if given == f"{once}{between}{once}" else given)
    if not text.strip():
        raise Bad("no text", "has an instruction, but no text after it")
    return text


def entities_in(answer: Any, text: str, form: str) -> tuple[Entity, ...]:
    """The mentions of an answer, sorted.

    Raises:
        Bad: it is not exactly in its form, or a mention is not in the text, or not so often.
    """
    if not isinstance(answer, str):
        raise Bad("no answer", f"needs an answer that is a string, not {one_line(answer)}")
    parsed = _reader(form).parse(answer, text)
    if parsed.problems:
        remedy = f"name its form with the option form, one of {', '.join(form_names())}"
        raise Bad("malformed answer", f"{one_line(answer, 60)} is not exactly in the form {form}; {remedy}")
    found = []
    for mention, span in zip(parsed.mentions, align(parsed.mentions, text), strict=True):
        what = f"{escaped(mention.label, 40)} {one_line(mention.text, 40)}"
        if not mention.label.strip():
            raise Bad("malformed label", f"{what}: the label must be a non-empty string")
        if span is None:
            raise Bad("mention not in the text", f"{what}: the text has no such surface")
        entity = Entity(*span, mention.label, text[slice(*span)])
        if entity in found:
            raise Bad("repeated mention", f"{what}: the answer has it more often than the text")
        found.append(entity)
    return tuple(sorted(found))
