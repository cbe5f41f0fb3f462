"""For tests of `ner-eval extract --output`: the call, its input and its output."""

import json
from pathlib import Path
from typing import Any

from aiohttp import web

from faulty import Faulty, Script, failure

OUT, BESIDE = Path("out.jsonl"), Path("out.jsonl.manifest.json")
TEXTS = [f"林{n:02}在" for n in range(40)]


def extract(server: Faulty, *arguments: object, output: str = OUT.name) -> tuple[object, ...]:
    prompt = ("--prompt", "data/alpaca/demo.prompt.json", "--wait", "0", "--base-url", server.base_url)
    return ("extract", "--model", "nano", *prompt, "--output", output, "a.txt", *arguments)


def stored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in OUT.read_text(encoding="utf-8").split("\n")[:-1]] if OUT.exists() else []


def refusing(*numbers: int) -> Script:
    async def refuse(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        return failure(400, "too long") if server.asked[-1] in [TEXTS[n] for n in numbers] else None

    return refuse
