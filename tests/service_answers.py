"""Answers of an engine with log-probabilities, for tests of scores."""

from collections.abc import Sequence
from math import log
from typing import Any

from aiohttp import web

from faulty import Faulty, Script


def scored(mentions: Sequence[tuple[str, str, float]]) -> Script:
    """Every text gets these mentions: label, surface, and the probability that the surface shall have."""
    tokens: list[dict[str, Any]] = []

    def say(piece: str, probability: float = 1.0) -> None:
        tokens.append({"token": piece, "logprob": log(probability), "bytes": list(piece.encode())})

    for number, (label, text, probability) in enumerate(mentions):
        say(("[" if not number else ",") + '{"text":"')
        say(text, probability)
        say('","label":"')
        say(label)
        say('"}')
    say("]" if mentions else "[]")
    content = "".join(token["token"] for token in tokens)

    async def answer(server: Faulty, body: dict[str, Any]) -> web.StreamResponse:
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": content}}
        choice["finish_reason"] = "stop"
        if body.get("logprobs"):
            choice["logprobs"] = {"content": tokens}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})

    return answer
