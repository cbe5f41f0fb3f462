"""``ner-data``: corpora to training files."""

from ner_common.commands import program

COMMANDS = {
    "fetch": ("ner_data.fetch", "download a corpus (or generate `demo`) into data/raw"),
    "convert": ("ner_data.convert", "raw files to gold records with offsets"),
    "alpaca": ("ner_data.alpaca", "gold records to alpaca files, prompt spec and dataset_info.json"),
    "preview": (
        "ner_data.preview",
        "print what the model sees of a recipe's data set, and which part carries the loss",
    ),
}

entry_point = program("ner-data", "Corpora to training files.", COMMANDS)
