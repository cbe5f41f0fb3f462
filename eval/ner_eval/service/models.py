"""The models behind the service: each with its prompt and its own client of the engines."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError
from ner_common.fingerprints import weights_fingerprint
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.confidence.trust import Trust, trust_in
from ner_eval.inference.asker import Asker
from ner_eval.inference.client import Client, Connection
from ner_eval.inference.request import sampling
from ner_eval.inference.served_model import (
    Exchanged,
    Served,
    choose_prompt,
    find_model,
    require_unchanged,
    said,
    serves,
)
from ner_eval.service.messages import Extract

LOOK_S = 2.0  # between two looks at what the engines serve


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the engines serve, and how it is asked.

    Its texts have no queue of their own: each request has at most ``connection.concurrency`` of its texts in flight,
    so a large batch does not keep a single text waiting.

    Attributes:
        path: the folder or prompt that the command line names.
        version: the name with the fingerprint of the weights, as far as these can be read here.
    """

    name: str
    path: Path | None
    structured: str
    connection: Connection
    client: Client
    served: Served
    spec: PromptSpec
    trust: Trust
    version: str

    def asker(self, request: Extract) -> Asker:
        """One for a request; scores are calibrated if the model's folder says how."""
        how = (self.structured, self.connection.openai_only, self.connection.concurrency)
        return Asker(
            self.client, self.name, self.spec, *how, context=request.context, passes=request.passes,
            confidence=request.scored, trust=self.trust,
        )  # fmt: skip

    async def ready(self) -> bool:
        return await serves(self.client, self.name)

    async def current(self) -> "Model":
        """The model as the engines serve it now: this one, unless it was exchanged (`ner-model reload`).

        Raises:
            UserError: it was, but not on every engine; or see `open_models`.
        """
        try:
            await require_unchanged(self.client, self.served)
            if any(server.up for server in self.client.servers):
                return self
        except Exchanged:
            pass
        served = await find_model(self.client, self.name, wait=0)
        return _model(self.name, self.path, self.structured, self.connection, self.client, served)


def named(word: str) -> tuple[str, Path | None]:
    """A model as the command line names it, ``NAME`` or ``NAME=PATH``.

    Raises:
        UserError: it has no name, or no path after the equals sign.
    """
    name, equals, path = word.partition("=")
    if not name or (equals and not path):
        raise UserError(f"--model {word}: not NAME or NAME=PATH")
    return name, Path(path) if path else None


async def open_models(
    stack: AsyncExitStack, words: Sequence[str], structured: str, connection: Connection, notice: Callable[[str], None]
) -> dict[str, Model]:
    """Find the models that `named` reads; their clients stay open until ``stack`` is closed.

    Raises:
        UserError: a name is there twice; no engine answers, or one lacks a model; a prompt is missing.
    """
    models: dict[str, Model] = {}
    for word in words:
        name, path = named(word)
        if name in models:
            raise UserError(f"--model {name}: is there twice; name every model once")
        client = await stack.enter_async_context(connection.client(notice))
        served = await find_model(client, name, connection.wait, path if path and path.is_dir() else None)
        models[name] = _model(name, path, structured, connection, client, served)
    return models


async def follow(models: dict[str, Model]) -> None:
    """Replace models that were exchanged on the engines, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        for name, model in list(models.items()):
            try:
                now = models[name] = await model.current()
            except (UserError, OSError) as error:  # weights that are being replaced cannot be read for a moment
                model.client.notice_once(f"{said(error)}; {name} is asked as before")
            else:
                if (now.version, now.spec) != (model.version, model.spec):
                    model.client.notice(f"{name}: exchanged; asked as {now.version} from now on")


def _model(
    name: str, path: Path | None, structured: str, connection: Connection, client: Client, served: Served
) -> Model:
    """How the engines' model is asked; a calibration that does not fit is named in a notice, and not used.

    Raises:
        UserError: there is no prompt, or its answer form cannot be forced.
    """
    folder, prompt = served.folder, path
    known = bool(folder and (folder / FILE_NAME).is_file())
    if path and path.is_dir():
        # After an exchange it may hold other weights than those served, which are asked with another prompt.
        other = known and weights_fingerprint(path) != weights_fingerprint(folder)
        folder, prompt = (folder, None) if other else (path, path / FILE_NAME)
    if not (prompt or known):
        raise UserError(f"--model {name}: its engine names no folder with a {FILE_NAME}; write --model {name}=DIR")
    spec = choose_prompt(prompt, folder, None, (), False, connection.openai_only)
    sampling(spec, structured, connection.openai_only)  # raises if the answer form cannot be forced
    weights = weights_fingerprint(folder)
    trust = Trust()
    try:
        trust = trust_in(folder, spec.fingerprint, structured=structured, weights=weights)
    except (UserError, OSError) as error:  # few requests want scores; all want the prompt of the weights that answer
        client.notice_once(f"{said(error)}; the scores of {name} are not calibrated")
    version = f"{name} {weights}" if weights else name
    return Model(name, path, structured, connection, client, served, spec, trust, version)
