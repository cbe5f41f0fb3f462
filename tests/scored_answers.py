"""Answers with log-probabilities, as vLLM sends them: every mention gets the score that a test wants."""

import json
from collections.abc import Sequence
from math import log
from typing import Any

from aiohttp import web

from faulty import Faulty, Script, failure

Mention = tuple[str, str, float]  # label, text, score


def answered(mentions: Sequence[Mention]) -> tuple[str, list[tuple[str, float]]]:
    """An answer in the form json_list, and its tokens: all are certain but the first character of each surface."""
    tokens: list[tuple[str, float]] = []
    for number, (label, text, score) in enumerate(mentions):
        tokens.append(("," if number else "[", 0.0))
        tokens.append(('{"label":"' + label + '","text":"', 0.0))
        tokens += [(text[:1], log(score)), (text[1:] + '"}', 0.0)]
    tokens.append(("]" if mentions else "[]", 0.0))
    return "".join(token for token, _ in tokens), tokens


def logprobs(tokens: Sequence[tuple[str, float]], end: str = "<|im_end|>") -> dict[str, Any]:
    content = [
        {"token": t, "logprob": p, "bytes": [*t.encode()], "top_logprobs": []} for t, p in [*tokens, (end, 0.0)]
    ]
    return {"content": content}


def scored(mentions: Sequence[Mention], **choice: Any) -> web.Response:
    """A chat completion; ``choice`` replaces its fields."""
    answer, tokens = answered(mentions)
    value = {"message": {"content": answer}, "finish_reason": "stop", "logprobs": logprobs(tokens), **choice}
    text = json.dumps({"choices": [value], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    return web.Response(text=text, content_type="application/json")


def giving(mentions: Sequence[Mention]) -> Script:
    """Every text gets the same mentions, with log-probabilities if they are asked for."""

    async def answer(server: Faulty, body: dict[str, Any]) -> web.Response:
        return scored(mentions) if body.get("logprobs") else scored(mentions, logprobs=None)

    return answer


async def refusing_scores(server: Faulty, body: dict[str, Any]) -> web.Response | None:
    """An engine that refuses to be asked for log-probabilities, instead of leaving them out of its answers."""
    return failure(400, "Logprobs are not supported") if "logprobs" in body else None
