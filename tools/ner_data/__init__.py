"""Corpora for named-entity recognition: raw files to gold records to alpaca files and prompt specs.

The public names: each command of `ner-data` as a function (`fetch`, `convert`, `alpaca`, …), the description of a
corpus, gold records, and the prompt spec with its options.
"""

from ner_data.alignment import align
from ner_data.alpaca import Options, alpaca
from ner_data.checking import check
from ner_data.convert import convert
from ner_data.corpus import load_corpus
from ner_data.derived import Prepared
from ner_data.described import Corpus
from ner_data.export import export, export_corpus
from ner_data.fetch import fetch
from ner_data.gold import Entity, Mention, Record, read_gold, write_gold
from ner_data.preparing.augment import augment
from ner_data.preparing.merge import merge
from ner_data.preparing.negatives import negatives
from ner_data.preparing.sample import sample
from ner_data.preparing.split import split
from ner_data.preview import preview
from ner_data.prompt import PromptSpec

__all__ = [
    "Corpus",
    "Entity",
    "Mention",
    "Options",
    "Prepared",
    "PromptSpec",
    "Record",
    "align",
    "alpaca",
    "augment",
    "check",
    "convert",
    "export",
    "export_corpus",
    "fetch",
    "load_corpus",
    "merge",
    "negatives",
    "preview",
    "read_gold",
    "sample",
    "split",
    "write_gold",
]
