"""Records written with their mentions in brackets, and labels for them."""

from ner_data import Record
from ner_data.described import Label
from ner_data.gold import Entity

LABELS = (Label("name", "姓名", "人的名字"), Label("company", "公司"))


def record(identity: str, marked: str, source: str = "") -> Record:
    """A record of a text with its mentions in brackets: ``[林晓|name]在[云帆科技|company]任经理``; None of gold: ``?…``."""
    text, entities = "", []
    for part in marked.removeprefix("?").replace("]", "[").split("["):
        surface, bar, label = part.partition("|")
        if bar:
            entities.append(Entity(len(text), len(text) + len(surface), label, surface))
        text += surface
    return Record(identity, text, None if marked.startswith("?") else tuple(entities), source)


def marked(records: list[Record]) -> list[str]:
    """The texts of records with their mentions in brackets; these share no characters."""
    lines = []
    for one in records:
        text, end = "", 0
        for entity in one.gold:
            text += f"{one.text[end : entity.start]}[{entity.text}|{entity.label}]"
            end = entity.end
        lines.append(text + one.text[end:])
    return lines
