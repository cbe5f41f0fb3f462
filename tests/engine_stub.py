"""An engine that answers at once, as a process of its own: ``python tests/engine_stub.py PORT [DELAY]``.

It finds a name in the first two characters of every text. For what a real engine is too slow to show: how much CPU time
our own code takes per request, and what happens to requests while an engine is killed and started again.
"""

import asyncio
import json
import sys
from typing import Any

import uvloop

MODELS = json.dumps({"data": [{"id": "nano", "root": "/models/nano"}]}).encode()


def response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(request: bytes) -> bytes:
    """A chat completion for the body of a request; with log-probabilities, one token per character, if it asks."""
    asked = json.loads(request)
    text = asked["messages"][1]["content"].partition("文本：\n")[2]
    content = json.dumps([{"label": "name", "text": text[:2]}], ensure_ascii=False, separators=(",", ":"))
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    if asked.get("logprobs"):
        tokens = [{"token": char, "logprob": -0.01, "bytes": list(char.encode())} for char in content]
        choice["logprobs"] = {"content": tokens}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}).encode()


class Engine(asyncio.Protocol):
    def __init__(self, delay: float) -> None:
        self.delay, self.data = delay, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = int(next((line[15:] for line in lines if line.startswith(b"content-length:")), b"0"))
            if len(rest) < length:
                return
            self.data, body = rest[length:], rest[:length]
            sent = response(MODELS if head.startswith(b"GET") else answer(body))
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, sent)


async def main(port: int, delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Engine(delay), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
