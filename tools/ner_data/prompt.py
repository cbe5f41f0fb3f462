"""The prompt: one builder for training and for serving.

A `PromptSpec` holds everything that a model is asked with: system text, instruction, label set, answer form. Its
fingerprint is stored with the alpaca file and with the adapter, so a model is never scored with a prompt it was not
trained on.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, structs

from ner_common.decoding import convert
from ner_common.errors import UserError, one_line, printable, rooted
from ner_common.files import Opener, read_json, write_atomically, write_json
from ner_common.fingerprints import prompt_fingerprint
from ner_data.answers import form_names, load_form
from ner_data.gold import Entity, Mention, Parsed, Record

SYSTEM = "你是一名中文命名实体识别专家。"
GIVEN = "文本："
INSTRUCTION = (
    "请从文本中抽取命名实体，{directive}。\n"
    "类别：{labels}。\n"
    "规则：只使用以上类别；{rules}。\n"
    "格式：{format}\n"
    f"{{examples}}{GIVEN}"
)
EXAMPLES = "示例：\n{shown}\n\n请仿照示例，只输出下面文本的答案。\n"
ANSWERED = "\n答案：\n"
EXAMPLE = f"文本：\n{{text}}{ANSWERED}{{answer}}"
DEFINED = "类别：\n"
AGAIN = "请再读一遍文本："
RULES = "实体须逐字照抄原文；按出现的先后顺序排列，重复出现的实体重复列出；没有实体时输出 {empty}"
FILE_NAME = "ner_prompt.json"
Label = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """What a model is trained and prompted with.

    ``max_tokens`` bounds an answer (in tokens; from the training split's longest answer), ``longest_text`` a text (in
    characters; the training split's longest: a model that learned from sentences fails on documents, so these are
    split, into pieces of ``several_sentences`` if many of the training's texts are, else into single ones). None of
    these changes a prompt, so none is part of the fingerprint. ``again``: the text is given twice, with
    this line in between; empty: once. ``enable_thinking``: what the chat template was told in training (Qwen3's ends a
    prompt with an empty thinking block if it is False); None: nothing, as most templates do not ask. ``fewer``: other
    instructions that some training records have instead (`ner_data.fewer_labels`); nobody is asked with them later.
    """

    corpus: str
    system: str
    instruction: str
    labels: Annotated[tuple[Label, ...], Meta(min_length=1)]
    answer_form: str
    max_tokens: Annotated[int, Meta(ge=1, le=1 << 20)]
    longest_text: Annotated[int, Meta(ge=1, le=1 << 30)] = 256
    several_sentences: bool = False
    again: Annotated[str, Meta(max_length=100)] = ""
    enable_thinking: bool | None = None
    fewer: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of everything that a model sees or must answer with."""
        return prompt_fingerprint(self.system, self.instruction, self.labels, self.answer_form, self.again)

    @property
    def template_arguments(self) -> dict[str, bool]:
        """What the model's chat template is told beside the messages."""
        return {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}

    @property
    def defines_labels(self) -> bool:
        """Whether the labels come with their definitions."""
        return DEFINED in self.instruction

    @property
    def demonstrations(self) -> int:
        """How many records are shown with their answers."""
        return self.instruction.count(ANSWERED)

    def showing(self, demonstrations: Sequence[Record]) -> "PromptSpec":
        """The spec with some records with gold and their answers in its instruction, where `instruction` puts them.

        Raises:
            ValueError: it shows some already, or does not end as ours do; one line.
        """
        if self.demonstrations:
            raise ValueError(f"its prompt shows {self.demonstrations} demonstrations already")
        if not self.instruction.endswith(GIVEN):
            raise ValueError(f"its instruction does not end with {GIVEN}, so demonstrations have no place in it")
        own = [only(record, self.labels) for record in demonstrations]
        shown = examples(own, self.answer_form)
        return replace(self, instruction=f"{self.instruction.removesuffix(GIVEN)}{shown}{GIVEN}")

    def user_text(self, text: str) -> str:
        """The user turn: instruction, newline, input; LLaMA-Factory joins them the same way."""
        return f"{self.instruction}\n{self.input(text)}"

    def input(self, text: str) -> str:
        """What follows the instruction: the escaped text, once or twice."""
        given = escape(text)
        return f"{given}\n{self.again}\n{given}" if self.again else given

    def messages(self, text: str) -> list[dict[str, str]]:
        """OpenAI chat messages for one text."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user_text(text)}]

    def render(self, record: Record) -> str:
        """The answer that a model should give for a record with gold."""
        return load_form(self.answer_form).render(*escape_entities(record.text, record.gold))

    def parse(self, answer: str, text: str) -> Parsed:
        """Read a model's answer to ``messages(text)``; surfaces come back unescaped.

        What a model thought before its answer is no part of it, in any form; if that does not end, there is no answer.
        """
        escaped = escape(text)
        if (said := without_thinking(answer)) is None:
            return Parsed((), ("unparsable",))
        parsed = load_form(self.answer_form).parse(said, escaped)
        mentions = parsed.mentions
        if escaped != text:
            mentions = tuple(restored(mention, text) for mention in mentions)
        if len(said) != len(answer):
            mentions = tuple(replace(mention, written=_in_answer(mention, said, answer)) for mention in mentions)
        return Parsed(mentions, parsed.problems)

    def save(self, path: Path, write: Opener = write_atomically) -> None:
        """Write the spec and its fingerprint as JSON."""
        write_json(path, self.as_json(), write=write)

    def as_json(self) -> dict[str, Any]:
        """The spec with its fingerprint; without what earlier versions do not know, if it is not used."""
        later = {"several_sentences": False, "again": "", "enable_thinking": None, "fewer": ()}
        value = {key: value for key, value in asdict(self).items() if key not in later or value != later[key]}
        return {**value, "fingerprint": self.fingerprint}

    @classmethod
    def load(cls, path: Path, remedy: str = "run `make data` to write it") -> "PromptSpec":
        """Read a prompt spec.

        Raises:
            UserError: the file is missing, or see `from_json`.
        """
        value = read_json(path, remedy)
        try:
            return cls.from_json(value)
        except ValueError as error:
            raise UserError(f"{rooted(path)}: {error}; {remedy}") from None

    @classmethod
    def from_json(cls, value: Any) -> "PromptSpec":
        """Read the decoded JSON of a spec.

        Raises:
            ValueError: it is not a prompt spec, a value is out of range, or the fingerprint does not match; one line.
        """
        if not isinstance(value, dict):
            raise ValueError("not a prompt spec")
        names = {field.name for field in fields(cls)}
        if unknown := value.keys() - names - {"fingerprint"}:
            raise ValueError(f"not a prompt spec (has the unknown field {one_line(min(unknown), 40)})")
        try:
            spec = convert({name: value[name] for name in value.keys() & names}, cls)
        except ValueError as error:
            raise ValueError(f"not a prompt spec ({error})") from None
        if spec.answer_form not in form_names():
            raise ValueError(f"unknown answer form {one_line(spec.answer_form)}; known: {', '.join(form_names())}")
        if len(set(spec.labels)) < len(spec.labels):
            raise ValueError("not a prompt spec (labels: one of them is a duplicate)")
        if bad := [label for label in spec.labels if printable(label) != label or label != label.strip()]:
            raise ValueError(
                f"not a prompt spec (labels: {one_line(bad[0], 40)} has control characters or outer spaces)"
            )
        if value.get("fingerprint") != spec.fingerprint:
            stored = one_line(value.get("fingerprint"), 40)
            raise ValueError(f"edited by hand (fingerprint {stored}, contents {spec.fingerprint!r})")
        return spec


_THINKING = re.compile(r"<(/?)think(?:ing)?>")


def without_thinking(answer: str) -> str | None:
    """An answer without the ``<think>…</think>`` before it and white space around it; None if the last block is open.

    Some chat templates write the opening tag themselves, so the answer begins with the thoughts. What an answer says
    before a block is kept, with a tag after it: not exactly an answer in the form.
    """
    tags = list(_THINKING.finditer(answer)) if "think" in answer else []
    if not tags:
        return answer
    if not tags[-1][1]:
        return None
    before = "" if tags[0][1] else answer[: tags[0].start()]
    rest = answer[tags[-1].end() :].strip()
    return f"{before}{tags[-1][0]}{rest}" if before.strip() else rest


def _in_answer(mention: Mention, said: str, answer: str) -> tuple[tuple[int, int], ...]:
    """``written`` of a mention of ``said``, which is ``without_thinking(answer)``, in the answer itself."""
    tag = _THINKING.search(said)
    before = tag.start() if tag else 0  # so far nothing was removed; the rest is at the end of both
    removed = len(answer.rstrip()) - len(said)
    return tuple((s, e) if e <= before else (s + removed, e + removed) for s, e in mention.written)


def instruction(
    labels: Sequence[tuple[str, str]],
    answer_form: str,
    *,
    definitions: Sequence[str] = (),
    demonstrations: Sequence[Record] = (),
) -> str:
    """The instruction for a label set of (id, Chinese name) pairs; a name equal to its id is not repeated.

    Args:
        definitions: of each label, or none; a label whose definition is empty only has its name.
        demonstrations: records with gold that are shown with their answers.
    """
    form = load_form(answer_form)
    listed = [label if label == name else f"{label}（{name}）" for label, name in labels]
    categories = "、".join(listed)
    if definitions:
        pairs = zip(listed, (escape(" ".join(text.split())) for text in definitions), strict=True)
        categories = "\n" + "；\n".join(f"{label}：{text}" if text else label for label, text in pairs)
    return INSTRUCTION.format(
        labels=categories,
        directive=form.DIRECTIVE,
        rules=getattr(form, "RULES", RULES).format(empty=form.render("", ())),
        format=form.FORMAT,
        examples=examples(demonstrations, answer_form),
    )


def examples(demonstrations: Sequence[Record], answer_form: str) -> str:
    """The part of an instruction that shows records with gold and their answers; empty without any."""
    shown = []
    for record in demonstrations:
        text, entities = escape_entities(record.text, record.gold)
        shown.append(EXAMPLE.format(text=text, answer=load_form(answer_form).render(text, entities)))
    return EXAMPLES.format(shown="\n\n".join(shown)) if shown else ""


def only(record: Record, labels: Sequence[str]) -> Record:
    """A record with its entities of some labels."""
    return structs.replace(record, entities=tuple(one for one in record.gold if one.label in labels))


# What our models' tokenizers treat as control tokens: <|im_end|>, <tool_call>, </s>, [gMASK]. One more space after the
# opening bracket breaks the token and keeps the mapping one-to-one: "<|" becomes "< |", "< |" becomes "<  |".
_CONTROL = re.compile(r"([<\[])( *)(?=\||/?[A-Za-z_]+>|[gs]?MASK\])")


def escape(text: str) -> str:
    """Rewrite what looks like a control token so that it reaches the model as text. `unescape` reverses it."""
    # Most texts have neither bracket, and this runs for every text that is scored.
    return _CONTROL.sub(r"\1 \2", text) if "<" in text or "[" in text else text


def unescape(text: str) -> str:
    """Reverse `escape`."""
    return _CONTROL.sub(lambda match: match[1] + match[2][1:], text)


def escape_entities(text: str, entities: Sequence[Entity]) -> tuple[str, list[Entity]]:
    """Escape a text and shift its entities: (escaped text, entities with their offsets in it)."""
    if (escaped := escape(text)) == text:
        return text, list(entities)
    inserted = [match.end(1) for match in _CONTROL.finditer(text)]
    moved = []
    for entity in entities:
        # An inserted space belongs to an entity only if the entity continues after it.
        start = entity.start + sum(position <= entity.start for position in inserted)
        end = entity.end + sum(position < entity.end for position in inserted)
        moved.append(Entity(start, end, entity.label, escaped[start:end]))
    return escaped, moved


def restored(mention: Mention, text: str) -> Mention:
    """A mention of ``escape(text)`` as one of the text itself.

    `unescape` alone would miss a surface that ends inside a control token ("< im" of "<im>"), so the surface is looked
    up in the escaped text, and the inserted spaces are removed by position. A surface that does not occur there is
    only unescaped.
    """
    inserted = [match.end(1) for match in _CONTROL.finditer(text)]
    if not inserted or not mention.text:
        return mention
    start = escape(text).find(mention.text) if mention.start is None else mention.start
    if start < 0:
        return replace(mention, text=unescape(mention.text), start=None)
    spaces = {position + order for order, position in enumerate(inserted)}
    surface = "".join(char for offset, char in enumerate(mention.text, start) if offset not in spaces)
    before = None if mention.start is None else start - sum(space < start for space in spaces)
    # A lone space may be one of the text's own.
    return replace(mention, text=surface or mention.text, start=before)
