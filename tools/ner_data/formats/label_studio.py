"""Label Studio, a text with labels: its exports JSON and JSON-MIN.

A sample task of JSON, and one of JSON-MIN::

    {"id": 1, "data": {"text": "林晓在云帆科技任经理"}, "annotations": [{"was_cancelled": false, "ground_truth": false,
      "result": [{"from_name": "label", "to_name": "text", "type": "labels",
                  "value": {"start": 0, "end": 2, "text": "林晓", "labels": ["name"]}}]}]}
    {"id": 1, "text": "林晓在云帆科技任经理", "annotation_id": 1,
     "label": [{"start": 0, "end": 2, "text": "林晓", "labels": ["name"]}]}

``text`` is the key of the text in ``data``, ``label`` that of the labels in JSON-MIN: the names of the project's
controls. Of a task's annotations the one that is not cancelled is read; of several, the one that is ground truth. A
region with several labels is a mention of each.

Ends are exclusive. Offsets count characters; in older versions they count as JavaScript does, so that an emoji is two.
What the regions say that they are decides, for each task as a whole, up to white space: browsers change that, and then
the offsets are right. Gold is written as tasks to import, with the record's id in ``data``; what a model found is
written as predictions, which are no annotations until somebody has corrected them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Sample, Scores
from ner_data.formats._records import (
    KEPT,
    NO_GOLD,
    Bad,
    JSONRecords,
    entity,
    fields_in,
    from_utf16,
    identity_in,
    list_in,
    text_in,
    utf16_offset,
    utf16_places,
    write_array,
)
from ner_data.gold import Entity, Record

FORM = '{"start": 0, "end": 2, "text": "surface", "labels": ["label"]}'
RESULT = f'{{"type": "labels", "value": {FORM}}}'
OBJECTS = '{"result": [...]}'
CANCELLED = "cancelled annotations (skipped)"
OTHERS = "annotations besides the ground truth (skipped)"
PREDICTIONS = "predictions and drafts (skipped)"
RESULTS = "results that are no labels (skipped)"
SPACES = "regions that differ from the text in white space (offsets kept)"
UNITS = "regions whose offsets count UTF-16 units (converted)"


@dataclass(frozen=True)
class Reader(JSONRecords):
    """See the module."""

    text: str = "text"
    label: str = "label"

    title = "Label Studio JSON and JSON-MIN"
    files = ".json"
    nested = True
    policies = (
        *KEPT,
        "Cancelled annotations, predictions, drafts and results that are no labels are skipped, and counted.",
    )
    label_keys = frozenset({"labels"})

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        holder = value["data"] if isinstance(value, dict) and "data" in value else value
        remedy = "; name the key with `options: {text: KEY}`"
        text, identity = text_in(holder, self.text, remedy), identity_in(value)
        if not gold:
            return Sample(line, text, None, identity=identity)
        regions, skipped = _regions(value) if holder is not value else (self._minimal(value), ())
        entities, repairs = _entities(text, [_region(region) for region in regions])
        return Sample(line, text, tuple(sorted(entities)), repairs=skipped + repairs, identity=identity)

    def _minimal(self, value: dict[str, Any]) -> list[Any]:
        """The regions of a record of JSON-MIN, which lacks the key if an annotation has none."""
        if self.label not in value and "annotation_id" in value:
            return []
        return list_in(value, self.label, FORM)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_array(target, ".json", map(self._task, records), write)

    def suggest(self, records: Iterable[Record], scores: Scores, target: Path, corpus: Corpus, write: Opener) -> None:
        tasks = (self._suggested(record, scores.get(record.id, {})) for record in records)
        write_array(target, ".json", tasks, write)

    def _task(self, record: Record) -> dict[str, Any]:
        results = [region(found, self.label) for found in record.entities or ()]
        annotations = [] if record.entities is None else [{"result": results}]
        return {"data": {"id": record.id, self.text: record.text}, "annotations": annotations}

    def _suggested(self, record: Record, scores: Mapping[Entity, float]) -> dict[str, Any]:
        found = record.entities or ()
        made = prediction([region(one, self.label, scores.get(one)) for one in found])
        return {"data": {"id": record.id, self.text: record.text}, "predictions": [made]}


def region(found: Entity, control: str, score: float | None = None, text: str = "text") -> dict[str, Any]:
    """A mention as a result: of the labels control of that name, in the text of that name."""
    value = {"start": found.start, "end": found.end, "text": found.text, "labels": [found.label]}
    own = {} if score is None else {"score": round(score, 4)}
    return {"from_name": control, "to_name": text, "type": "labels", "value": value, **own}


def prediction(regions: list[dict[str, Any]]) -> dict[str, Any]:
    """What a model found in a text; its score is the lowest one of its regions: Label Studio can sort tasks by it."""
    scores = [one["score"] for one in regions if "score" in one]
    return {"result": regions, **({"score": min(scores)} if scores else {})}


def _regions(task: dict[str, Any]) -> tuple[list[Any], tuple[str, ...]]:
    """The values of the regions of a task, and what was skipped."""
    annotations = list_in(task, "annotations", OBJECTS)
    for annotation in annotations:
        fields_in(annotation, OBJECTS, "result", what="annotation")
    used = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    skipped = [CANCELLED] * (len(annotations) - len(used))
    if not used:
        problem = f"has only cancelled annotations ({len(annotations)})" if annotations else "has no annotation"
        raise Bad("no gold", f"{problem}; annotate the task, or remove it; {NO_GOLD}")
    truths = [annotation for annotation in used if annotation.get("ground_truth") is True]
    if len(used) > 1 and len(truths) != 1:
        problem = f"has {len(used)} annotations, {len(truths) or 'none'} of them ground truth"
        raise Bad("several annotations", f"{problem}; mark one as ground truth in Label Studio, or delete the others")
    chosen = (truths or used)[0]
    skipped += [OTHERS] * (len(used) - 1)
    for key in ("predictions", "drafts"):
        skipped += [PREDICTIONS] * (len(task[key]) if isinstance(task.get(key), list) else 0)
    results = list_in(chosen, "result", RESULT)
    kinds = [_kind(result) for result in results]
    skipped += [RESULTS] * (len(kinds) - kinds.count("labels"))
    return [result["value"] for result, kind in zip(results, kinds, strict=True) if kind == "labels"], tuple(skipped)


def _kind(result: Any) -> str:
    """The type of a result: ``labels``, or one that says nothing of a part of the text, as ``choices``."""
    (kind,) = fields_in(result, RESULT, "type", what="result")
    if not isinstance(kind, str) or (kind.endswith("labels") and kind != "labels"):
        raise Bad(
            "regions of another kind", f"has a region of the type {one_line(kind)}; only labels of a text are read"
        )
    if kind == "labels":
        fields_in(result, RESULT, "value", what="result")
    return kind


def _region(value: Any) -> tuple[Any, Any, list[Any], str | None]:
    """The start, end, labels and surface of a region."""
    start, end, labels = fields_in(value, FORM, "start", "end", "labels", what="region")
    surface = value.get("text")
    if not isinstance(surface, str | None):
        raise Bad("malformed entities", f"the text of a region must be a string, not {one_line(surface)}")
    if not isinstance(labels, list) or not labels:
        raise Bad("malformed label", f"the labels of a region must be a list with labels, not {one_line(labels)}")
    return start, end, labels, surface


_Regions = list[tuple[Any, Any, list[Any], str | None]]


def _entities(text: str, regions: _Regions) -> tuple[list[Entity], tuple[str, ...]]:
    """The mentions of some regions, whatever their offsets count, and the policies that were applied."""
    try:
        return _checked(text, regions)
    except Bad as bad:
        if not (places := utf16_places(text)):
            raise
        try:
            moved = [(*from_utf16(places, start, end), labels, surface) for start, end, labels, surface in regions]
            entities, repairs = _checked(text, moved)
        except Bad:
            raise bad from None
        return entities, repairs + (UNITS,) * len(regions)


def _checked(text: str, regions: _Regions) -> tuple[list[Entity], tuple[str, ...]]:
    entities: list[Entity] = []
    differ = 0
    for start, end, labels, surface in regions:
        found = [entity(text, start, end, label) for label in labels]
        there = found[0].text
        if surface is None and utf16_offset(text, end) != end:
            message = f"the region [{start}, {end}) does not say what it is, and may count an emoji before it as two"
            raise Bad("ambiguous offsets", f"{message}; export with the regions' text")
        if surface is not None and surface != there:
            if _bare(surface) != _bare(there):
                entity(text, start, end, labels[0], surface)  # raises
            differ += 1
        entities += found
    return entities, (SPACES,) * differ


def _bare(text: str) -> str:
    r"""A text without white space, and without ``\n`` in place of a line break."""
    return re.sub(r"\s+|\\n", "", text)
