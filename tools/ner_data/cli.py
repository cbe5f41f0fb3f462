"""The program ``ner-data``: corpora to training files."""

from ner_common.commands import program

COMMANDS = {
    "init": ("ner_data.init", "describe a corpus from its raw files, whose format is found out"),
    "labels": ("ner_data.labels", "list the labels of a raw file"),
    "formats": ("ner_data.describe", "list the formats of raw files, or describe one"),
    "fetch": ("ner_data.fetch", "download the raw files of a corpus into data/raw (or generate demo)"),
    "convert": ("ner_data.convert", "convert raw files to gold records with offsets"),
    "export": ("ner_data.export", "write gold in another tool's format"),
    "check": ("ner_data.checking", "find what a data owner should act on: copies, leakage, slips of annotation"),
    "alpaca": (
        "ner_data.alpaca",
        "write training files and prompt spec, and register them in data/alpaca/dataset_info.json",
    ),
    "split": (
        "ner_data.preparing.split",
        "divide a corpus into train, dev and test or into folds: labels balanced, near-duplicates together",
    ),
    "merge": ("ner_data.preparing.merge", "put corpora together, with labels renamed or dropped"),
    "sample": ("ner_data.preparing.sample", "draw a part of a corpus's training split"),
    "negatives": ("ner_data.preparing.negatives", "add sentences without entities to a training split"),
    "augment": ("ner_data.preparing.augment", "add training records with other mentions of the same labels"),
    "preview": (
        "ner_data.preview",
        "show what the model sees of a recipe's dataset, and which part carries the loss",
    ),
}

entry_point = program("ner-data", "Turn corpora into training files.", COMMANDS)
