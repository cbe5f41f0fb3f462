"""The generated corpus: its size, splits and offsets, and that it is the same on every machine."""

import hashlib
import itertools
import json
from pathlib import Path

import pytest

from ner_data import demo
from ner_data.gold import Entity, Record

SHA256 = {
    "train": "1c42d235ede7edba997fc2d64fb5d4f02158d4e87961f5281f25060a713e271c",
    "dev": "c0946c0cf2cc86eacd0184f36d9330d786b85a411a392a7154892364222a8012",
    "test": "336d6232ca7d9a9f355763318d09fa41f0bb2875315dfdd9eb231100e853c9c4",
}


@pytest.fixture(scope="module")
def samples() -> dict[str, list[demo.Sample]]:
    return demo.sentences()


def test_written_files_never_change(tmp_path: Path) -> None:
    assert demo.write_demo(tmp_path) == {"train": 2000, "dev": 200, "test": 200}
    found = {split: hashlib.sha256((tmp_path / f"{split}.json").read_bytes()).hexdigest() for split in demo.SIZES}
    assert found == SHA256


def test_written_lines_are_cluener_lines_with_inclusive_ends(tmp_path: Path) -> None:
    demo.write_demo(tmp_path)
    for line in (tmp_path / "dev.json").read_text(encoding="utf-8").splitlines():
        value = json.loads(line)
        for surfaces in value["label"].values():
            for surface, places in surfaces.items():
                assert all(value["text"][start : end + 1] == surface for start, end in places)


def test_every_label_occurs_in_every_split(samples: dict[str, list[demo.Sample]]) -> None:
    for split in demo.SIZES:
        assert {label for _, spans in samples[split] for *_, label in spans} == set(demo.LABELS)


def test_offsets_make_gold_records(samples: dict[str, list[demo.Sample]]) -> None:
    for text, spans in itertools.chain.from_iterable(samples.values()):
        entities = tuple(Entity(start, end, label, text[start:end]) for start, end, label in spans)
        assert Record("x", text, entities).gold == entities
        assert all(left.end <= right.start for left, right in itertools.pairwise(entities))


def test_splits_share_no_surface_and_no_sentence(samples: dict[str, list[demo.Sample]]) -> None:
    surfaces = {s: {t[a:b] for t, spans in samples[s] for a, b, _ in spans} for s in demo.SIZES}
    texts = {split: {text for text, _ in samples[split]} for split in demo.SIZES}
    for left, right in itertools.combinations(demo.SIZES, 2):
        assert not surfaces[left] & surfaces[right]
        assert not texts[left] & texts[right]


def test_some_sentences_have_no_entity_and_most_have_several(samples: dict[str, list[demo.Sample]]) -> None:
    counts = [len(spans) for _, spans in samples["train"]]
    assert 0.07 < counts.count(0) / len(counts) < 0.11
    assert sum(counts) / len(counts) > 1.7


def test_mentions_touch_and_repeat(samples: dict[str, list[demo.Sample]]) -> None:
    touching = repeated = 0
    for text, spans in samples["train"]:
        touching += any(left[1] == right[0] for left, right in itertools.pairwise(spans))
        repeated += len({text[start:end] for start, end, _ in spans}) < len(spans)
    assert touching > 50
    assert repeated > 50
