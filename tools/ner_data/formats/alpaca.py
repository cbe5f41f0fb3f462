"""Alpaca files, as ``data/alpaca`` has them and LLaMA-Factory, ms-swift and Axolotl (``type: alpaca``) read them.

A JSON array or JSON lines; a sample item (shortened)::

    {"system": "你是…", "instruction": "请从文本中抽取命名实体，…\\n文本：", "input": "林晓来了",
     "output": "[{\\"text\\":\\"林晓\\",\\"label\\":\\"name\\"}]", "id": "a1"}

The text is ``input``, and the answer ``output``, in a form of `ner_data.answers`; an item without gold has none.
Instruction and system text are not read. Items with a ``history`` of earlier turns are refused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Sample
from ner_data.formats._answers import AnsweredRecords, asked_text, entities_in
from ner_data.formats._records import NO_GOLD, Bad, identity_in, text_in, write_array
from ner_data.gold import Record


@dataclass(frozen=True)
class Reader(AnsweredRecords):
    """See the module."""

    title = "alpaca items of LLaMA-Factory, with our answers"
    files = ".json"

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        text = asked_text(text_in(value, "input"))
        if value.get("history"):
            raise Bad("several turns", f"has a history of earlier turns, {one_line(value['history'], 40)}")
        if gold and value.get("output") is None:
            raise Bad("no gold", f'has no "output", the answer; {NO_GOLD}')
        entities = entities_in(value["output"], text, self.form) if gold else None
        return Sample(line, text, entities, identity=identity_in(value))

    def named(self, value: Any) -> set[str]:
        return self.labels_of([value.get("output")] if isinstance(value, dict) else [])

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_array(target, ".json", self._items(records, corpus), write)

    def _items(self, records: Iterable[Record], corpus: Corpus) -> Iterator[dict[str, str]]:
        spec = self.spec(corpus)
        for record in records:
            item = {"system": spec.system, "instruction": spec.instruction, "input": spec.input(record.text)}
            answer = {} if record.entities is None else {"output": spec.render(record)}
            yield item | answer | {"id": record.id}
