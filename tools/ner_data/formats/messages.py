"""Chat messages as JSON lines, which most programs for fine-tuning read.

A sample line (shortened)::

    {"messages": [{"role": "system", "content": "你是…"}, {"role": "user", "content": "请从…\\n文本：\\n林晓来了"},
                  {"role": "assistant", "content": "[{\\"text\\":\\"林晓\\",\\"label\\":\\"name\\"}]"}]}

The text is what follows the first line of the user's turn that is ``文本：`` (option ``mark``), the last line of our
instructions; with an empty mark, the whole turn is the text. The answer is the assistant's turn, in a form of
`ner_data.answers`; a record without gold has none. The rest of the prompt is not read. Several user turns, and content
that is not a string, are refused.

Who reads it, and how:

- ms-swift: ``--dataset FILE``. The loss is on the assistant's turn. Other keys are dropped, or mean something.
- Axolotl: ``datasets: [{path: FILE, type: chat_template}]``; ``field_messages: messages`` and ``roles_to_train:
  [assistant]`` are its defaults.
- TRL: ``load_dataset("json", data_files=FILE)`` for `SFTTrainer`. The loss is on all turns, unless
  ``assistant_only_loss=True`` and the chat template marks what the assistant generates. With the option
  ``completion=true`` a line is ``{"prompt": [system, user], "completion": [assistant]}``, and the loss is on the
  answer, with any template.
- OpenAI: upload it with the purpose ``fine-tune``; 10 lines at least. Its schema has no ``id``, so a line has one only
  with the option ``ids=true``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import escaped, one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Sample
from ner_data.formats._answers import AnsweredRecords, asked_text, entities_in
from ner_data.formats._records import NO_GOLD, Bad, identity_in, names, write_lines
from ner_data.gold import Record

TURNS = '"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'


@dataclass(frozen=True)
class Reader(AnsweredRecords):
    """See the module.

    Attributes:
        mark: the line of the user's turn before the text; "": the turn is the text.
        completion: write ``prompt`` and ``completion`` instead of ``messages``; both are read anyway.
        ids: write the records' ids.
    """

    mark: str = "文本："
    completion: bool = False
    ids: bool = False

    title = "chat messages with our answers, for ms-swift, Axolotl, TRL and OpenAI fine-tuning"
    files = ".jsonl"

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        asked, answer = _turns(value)
        text = asked_text(self._after_mark(asked))
        if gold and answer is None:
            raise Bad("no gold", f"has no turn of the assistant, the answer; {NO_GOLD}")
        entities = entities_in(answer, text, self.form) if gold else None
        return Sample(line, text, entities, identity=identity_in(value))

    def named(self, value: Any) -> set[str]:
        turns = value.get("messages", value.get("completion")) if isinstance(value, dict) else None
        return self.labels_of(
            turn.get("content")
            for turn in (turns if isinstance(turns, list) else [])
            if isinstance(turn, dict) and turn.get("role") == "assistant"
        )

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_lines(target, ".jsonl", self._items(records, corpus), write)

    def _items(self, records: Iterable[Record], corpus: Corpus) -> Iterator[dict[str, Any]]:
        spec = self.spec(corpus)
        for record in records:
            asked = spec.messages(record.text)
            answer = [] if record.entities is None else [{"role": "assistant", "content": spec.render(record)}]
            item = {"prompt": asked, "completion": answer} if self.completion else {"messages": asked + answer}
            yield ({"id": record.id} if self.ids else {}) | item

    def _after_mark(self, asked: str) -> str:
        if not self.mark:
            return asked
        _, found, text = f"\n{asked}".partition(f"\n{self.mark}\n")
        if not found:
            remedy = "name the line that is before the text with the option mark (empty: the turn is the text)"
            raise Bad("no text", f"the user's turn {one_line(asked, 40)} has no line {escaped(self.mark)}; {remedy}")
        return text


def _turns(value: Any) -> tuple[str, str | None]:
    """What the user and the assistant say, each once, perhaps after a system text.

    Raises:
        Bad: there are other turns.
    """
    if not isinstance(value, dict):
        raise Bad("malformed record", f"a record must be an object with {TURNS}, not {one_line(value)}")
    turns = value.get("messages")
    if turns is None and isinstance(value.get("prompt"), list) and isinstance(value.get("completion", []), list):
        turns = value["prompt"] + value.get("completion", [])
    if not isinstance(turns, list):
        raise Bad("no messages", f"needs {TURNS}; has only {names(value)}")
    said = []
    for turn in turns:
        if not (isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)):
            raise Bad("malformed message", f"a message must have a role and a text as content, not {one_line(turn)}")
        said.append((turn["role"], turn["content"]))
    roles = [role for role, _ in said]
    if roles[:1] in (["system"], ["developer"]):
        roles, said = roles[1:], said[1:]
    if roles not in (["user"], ["user", "assistant"]):
        listed = escaped(", ".join(role for role, _ in said)) or "none"
        raise Bad("other turns", f"needs a turn of the user and one of the assistant, not {listed}")
    return said[0][1], said[1][1] if len(said) > 1 else None
