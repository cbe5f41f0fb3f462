"""ASGI middleware for vLLM: exchanges the adapter behind a name while requests for it are being answered.

vLLM's own HTTP API cannot do that (0.32; docs/log.md): to unload a name and load it again leaves a moment in which
requests for it get 404; to load "in place" keeps the adapter's number, so answers under way continue with the other
weights and are neither version's, and the adapter is read from the disk again at every step. So the function behind
that API is called here for the new version as if its name were new, which gives it a number of its own, and only then
does the name mean it: requests that were there before finish with the version they began with, and no block of the
prefix cache is shared, because each version has a path of its own.

Only `ner-model reload` may ask for it: with the mark of the server, which its owner alone can read. vLLM's own routes
for adapters, which would load any path for any client, stay switched off.
"""

import asyncio
import copy
import os
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import msgspec

from ner_common.decoding import decode_json
from ner_models.serving.identity import MARK
from ner_models.serving.middleware import App, Message, Receive, Send, refuse, respond, whole_body

if TYPE_CHECKING:
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels

PATH = "/ner/adapters"  # not below /v1, where vLLM wants the clients' key
DRAIN_S = 60.0  # how long a reload waits for the last answers of the version before the one that is served

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to load: a served adapter's name, and the folder of its new version."""

    name: Text
    path: Text


class ExchangeAdapters:
    """Wraps vLLM's application; counts the requests by the number of exchanges that came before them."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.token = f"Bearer {os.environ[MARK]}".encode()
        self.exchanges = 0
        self.running: Counter[int] = Counter()
        self.lock = asyncio.Lock()
        self.draining: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == PATH:
            return await self._asked(scope, receive, send)
        before = self.exchanges
        self.running[before] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.running[before] -= 1

    async def _asked(self, scope: Message, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if scope["method"] != "POST" or not secrets.compare_digest(given, self.token):
            return await refuse(send, 403, "only `ner-model reload` may exchange adapters")
        try:
            wanted = decode_json(await whole_body(receive) or b"", Exchange)
        except ValueError as error:
            return await refuse(send, 400, str(error))
        async with self.lock:
            if not await self._drained():
                early = f"after {DRAIN_S:.0f} s, answers of the version before the served one are still under way"
                return await refuse(send, 409, f"{early}; try again later")
            problem = await self._exchange(scope["app"].state.openai_serving_models, wanted)
        if problem:
            return await refuse(send, 400, problem)
        await respond(send, 200, {"name": wanted.name, "path": wanted.path})

    async def _exchange(self, models: "OpenAIServingModels", wanted: Exchange) -> str | None:
        """Load a version, then let its name mean it; returns why vLLM refuses it."""
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        previous = models.lora_requests.get(wanted.name)
        if previous is None:
            return f"no adapter is served as {wanted.name}"
        fresh = copy.copy(models)
        fresh.lora_requests = {}
        answer = await fresh.load_lora_adapter(LoadLoRAAdapterRequest(lora_name=wanted.name, lora_path=wanted.path))
        if not isinstance(answer, str):
            return str(answer.error.message)
        models.lora_requests[wanted.name] = fresh.lora_requests[wanted.name]
        self.exchanges += 1
        self.draining = asyncio.create_task(self._drain(models, previous.lora_int_id))
        return None

    async def _drain(self, models: "OpenAIServingModels", number: int) -> None:
        """Remove a version from the engine when the last request that may use it has been answered."""
        now = self.exchanges
        while any(count for before, count in self.running.items() if before < now):
            await asyncio.sleep(0.05)
        await models.engine_client.remove_lora(number)

    async def _drained(self) -> bool:
        """Whether only the served versions are loaded, for which `ner-model serve` reserved the room."""
        if self.draining:
            done, _ = await asyncio.wait([self.draining], timeout=DRAIN_S)
            return bool(done)
        return True
