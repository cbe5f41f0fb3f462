"""The models behind the service: each with its prompt and its own client of the engines."""

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
from ner_eval.inference.served_model import choose_prompt, find_model, serves


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the engines serve, and how it is asked.

    Its texts have no queue of their own: each request has at most ``concurrency`` of its texts in flight, so a large
    batch does not keep a single text waiting. ``version`` is the name with the fingerprint of the weights, as far as
    these can be read here.
    """

    name: str
    spec: PromptSpec
    client: Client
    structured: str
    openai_only: bool
    concurrency: int
    trust: Trust
    version: str

    def asker(self, confidence: bool) -> Asker:
        """One for a request; with ``confidence``, entities get scores, calibrated if the model's folder says how."""
        how = (self.structured, self.openai_only, self.concurrency)
        return Asker(self.client, self.name, self.spec, *how, confidence=confidence, trust=self.trust)

    async def ready(self) -> bool:
        return await serves(self.client, self.name)


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
        folder = path if path and path.is_dir() else None
        served = await find_model(client, name, connection.wait, folder)
        if not (path or (served.folder and (served.folder / FILE_NAME).is_file())):
            raise UserError(f"--model {name}: its engine names no folder with a {FILE_NAME}; write --model {name}=DIR")
        prompt = path / FILE_NAME if folder and path else path
        spec = choose_prompt(prompt, folder or served.folder, None, (), False)
        sampling(spec, structured, connection.openai_only)  # raises if the answer form cannot be forced
        weights = weights_fingerprint(folder or served.folder)
        trust = trust_in(folder or served.folder, spec.fingerprint, structured=structured, weights=weights)
        how = (structured, connection.openai_only, connection.concurrency)
        models[name] = Model(name, spec, client, *how, trust, f"{name} {weights}" if weights else name)
    return models
