"""JSON lines to train UIE with PaddleNLP (its doccano.py writes them): a line per text and prompt.

Sample lines of one text; the prompt is a label::

    {"content": "林晓在云帆科技任经理", "result_list": [{"text": "林晓", "start": 0, "end": 2}], "prompt": "name"}
    {"content": "林晓在云帆科技任经理", "result_list": [], "prompt": "company"}

Ends are exclusive. The lines of a text may be anywhere in the file, as doccano.py shuffles them, so the whole file is
in memory. If a text has several lines of one prompt, it is there several times: the second line of each prompt belongs
to the second record. A prompt ``林晓的职位`` whose ``林晓`` is a mention of the text asks for a relation: it is
skipped and counted. Labels that no line of a text asks for are read as not there.

Every label is asked of every text that is written. That holds texts without mentions, and texts that are there twice.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.decoding import decode_json
from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Piece, Sample
from ner_data.formats._records import (
    KEPT,
    Bad,
    JSONRecords,
    check_strings,
    entity,
    fields_in,
    list_in,
    text_in,
    write_lines,
)
from ner_data.gold import Entity, Record
from ner_data.source import Source

LINE = '{"content": "text", "result_list": [], "prompt": "label"}'
FORM = '{"text": "surface", "start": 0, "end": 2}'
RELATIONS = "prompts that ask for a relation (skipped)"
_LINES = list[tuple[int, str]]


@dataclass(frozen=True)
class Reader(JSONRecords):
    """See the module."""

    title = "JSON lines to train UIE (PaddleNLP)"
    files = ".txt"
    nested = True
    policies = (*KEPT, "Prompts that ask for a relation are skipped, and counted.")
    label_keys = frozenset({"prompt"})

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The (line number, line) rows of each text, in the order of their first lines.

        Raises:
            UserError: see `Source.items`; or a line is not JSON, and some text would silently lack mentions.
        """
        found: list[_LINES] = []
        texts: dict[str, tuple[list[_LINES], Counter[str]]] = {}  # its records, and how many lines a prompt has
        for row in source.items():
            try:
                value = decode_json(row[1])
            except ValueError:
                problem = f"not JSON: {one_line(row[1].strip(), 60)}; fix it, or its text would lack mentions"
                raise source.wrong(row[0], problem) from None
            text = value.get("content") if isinstance(value, dict) else None
            prompt = repr(value.get("prompt")) if isinstance(value, dict) else ""
            records, prompts = texts.setdefault(text, ([], Counter())) if isinstance(text, str) else ([], Counter())
            if prompts[prompt] == len(records):
                records.append([])
                found.append(records[-1])
            records[prompts[prompt]].append(row)
            prompts[prompt] += 1
        return (Piece(rows[0][0], rows) for rows in found)

    def parse(self, piece: Piece, gold: bool) -> Sample:
        values = [decode_json(line) for _, line in piece.content]
        try:
            for (_, line), value in zip(piece.content, values, strict=True):
                check_strings(line, value)
            return self.sample(piece.line, values, gold)
        except Bad as bad:
            return Sample(piece.line, "", None, bad.problem, labels=frozenset(self.named(values)))

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        text = text_in(value[0], "content")
        if not gold:
            return Sample(line, text, None)
        mentions: list[Entity] = []
        for part in value:
            (prompt,) = fields_in(part, LINE, "prompt", what="line")
            for result in list_in(part, "result_list", FORM):
                surface, start, end = fields_in(result, FORM, "text", "start", "end")
                if not isinstance(surface, str):
                    raise Bad("malformed entities", f"each entity must be {FORM}, not {one_line(result)}")
                if type(start) is int and start < 0:
                    message = (
                        f"{one_line(prompt)} has an offset before the text, as classification has; remove its lines"
                    )
                    raise Bad("offsets out of range", message)
                mentions.append(entity(text, start, end, prompt, surface))
        surfaces = {found.text for found in mentions}
        relations = {label for label in {found.label for found in mentions} if _asks_for_relation(label, surfaces)}
        kept = [found for found in mentions if found.label not in relations]
        repairs = (RELATIONS,) * len(relations)
        return Sample(line, text, tuple(sorted(kept)), repairs=repairs)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        labels = [label.id for label in corpus.labels]
        write_lines(target, ".txt", (line for record in records for line in _lines(record, labels)), write)


def _asks_for_relation(prompt: str, surfaces: set[str]) -> bool:
    """Whether a prompt is ``SURFACE的RELATION``, or ``RELATION of SURFACE``, as doccano.py makes them."""
    return any(prompt.startswith(f"{surface}的") or prompt.endswith(f" of {surface}") for surface in surfaces)


def _lines(record: Record, labels: list[str]) -> Iterator[dict[str, Any]]:
    results: dict[str, list[dict[str, Any]]] = {label: [] for label in labels}
    for found in record.entities or ():
        results.setdefault(found.label, []).append({"text": found.text, "start": found.start, "end": found.end})
    for label, there in results.items():
        yield {"content": record.text, "result_list": there, "prompt": label}
