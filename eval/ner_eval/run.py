"""A run: one model asked for one split. Its folder ``runs/<name>/`` holds

- ``manifest.json``    what was asked of what (`Manifest`); a run is continued only with the same
- ``predictions.jsonl``  one `Prediction` a line, as the answers arrived; in gold order once the run is complete
- ``scores.json``      counts (written by `ner-eval score`), ``report.html`` (by `ner-eval report`)

A line of ``predictions.jsonl``::

    {"id": "demo-test-1", "answer": "[{\"label\":\"name\",\"text\":\"林晓\"}]", "finish_reason": "stop",
     "prompt_tokens": 131, "completion_tokens": 12, "seconds": 0.41}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_data.prompt import PromptSpec

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One stored answer; ``finish_reason`` is the server's (``length``: cut off by max_tokens), seconds are wall time."""

    id: str
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What decides the answers of a run.

    ``gold_sha256`` is the checksum of the gold file as it was asked; ``sampling`` what every request carried (temperature,
    top_p, repetition_penalty, max_tokens, ...); ``selection`` how records were chosen (limit, sample, seed).
    """

    version: int
    model: str
    base_urls: tuple[str, ...]
    corpus: str
    split: str
    gold: str
    gold_sha256: str
    prompt: PromptSpec
    sampling: dict[str, Any]
    selection: dict[str, Any]
    tool_versions: dict[str, str]
