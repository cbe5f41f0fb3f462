"""Training files of a small corpus, `own`, and what the plugin says of them."""

import json
from pathlib import Path

import pytest

from ner_data.prompt import PromptSpec

SPEC = PromptSpec("own", "你是助手。", "找出实体。\n文本：", ("药品", "疾病"), "json_list", 64, 40)
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}


def write_data(folder: Path, spec: PromptSpec | None, name: str, texts: list[str], answer: str = "[]") -> None:
    """What `ner-data alpaca` writes: a training file, its entry in the registry and the prompt spec."""
    system, instruction = (spec.system, spec.instruction) if spec else ("", "说说看：")
    items = [{"system": system, "instruction": instruction, "input": text, "output": answer} for text in texts]
    (folder / f"{name}.json").write_text(json.dumps(items, ensure_ascii=False), "utf-8")
    registry = folder / "dataset_info.json"
    known = json.loads(registry.read_text()) if registry.exists() else {}
    registry.write_text(json.dumps(known | {name: {"file_name": f"{name}.json", "columns": COLUMNS}}))
    if spec:
        spec.save(folder / f"{name.rpartition('_')[0]}.prompt.json")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix("llamafactory_ner: ") for line in lines if line.startswith("llamafactory_ner: ")]
