"""List the labels of a raw file: ``ner-data labels FILE``."""

import argparse
from pathlib import Path

from ner_data.arguments import add_detection_arguments, detection
from ner_data.init import contents, describe
from ner_data.source import ENCODINGS, Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a raw file")
    parser.add_argument("--tags", type=Path, metavar="FILE", help="its tags, for formats that keep them apart")
    parser.add_argument("--encoding", choices=ENCODINGS, default="utf-8", help="(default: %(default)s)")
    add_detection_arguments(parser)


def run(args: argparse.Namespace) -> None:
    print(describe(args.file.name, contents(Source(args.file, args.encoding, args.tags), **detection(args))))
