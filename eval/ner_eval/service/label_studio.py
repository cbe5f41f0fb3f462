"""Label Studio's protocol for ML backends: it asks for a prediction while, or before, somebody annotates a task.

A project is connected with the address ``/label-studio`` of the service, and asks the first model. Label Studio's own
SDK for such backends is not in the package registries (what is there under its name is from 2023), so this speaks the
protocol itself, as ``label_studio/ml/api_connector.py`` of Label Studio 1.23 does on the other side:

- ``GET health``: any success;
- ``POST setup`` ``{"schema": the labeling interface, …}`` is answered with ``{"model_version": …}``;
- ``POST predict`` ``{"tasks": [{"data": {…}}, …], "label_config": the labeling interface, …}`` is answered with
  ``{"results": […]}``, a list of predictions for each task, in order;
- ``POST webhook`` tells of annotations, which nobody here learns from.

Nothing that it sends is kept, its access token neither.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import msgspec
from msgspec import UNSET, Struct

from ner_common.errors import one_line
from ner_data.formats.label_studio import prediction, region
from ner_data.gold import Entity
from ner_eval.service.failures import Failed
from ner_eval.service.messages import Extract, Result, read_as
from ner_eval.service.service import JSON, Service

if TYPE_CHECKING:
    from fastapi import FastAPI

ROOT = "/label-studio"
PREDICT = f"{ROOT}/predict"
INTERFACE = (
    '<View><Labels name="label" toName="text"><Label value="…"/></Labels><Text name="text" value="$text"/></View>'
)


class Setup(Struct, frozen=True):
    """What a project says when it is connected."""

    schema: str


class Task(Struct, frozen=True):
    """A task to annotate."""

    data: dict[str, Any]


class Tasks(Struct, frozen=True):
    """Tasks to annotate, of a project with a labeling interface."""

    tasks: list[Task]
    label_config: str


class Control(Struct, frozen=True):
    """Where a labeling interface wants mentions: the names of its tags, the key of the text, and the labels it has."""

    name: str
    text: str
    key: str
    labels: list[str]

    def texts(self, tasks: Sequence[Task]) -> list[str]:
        """Raises:
        Failed: 422: a task has no text there.
        """
        texts = []
        for number, task in enumerate(tasks, start=1):
            text = task.data.get(self.key)
            if not isinstance(text, str):
                raise Failed(422, f"task {number}: no text in its data under {one_line(self.key)}")
            texts.append(text)
        return texts

    def predictions(self, result: Result, version: str) -> list[dict[str, Any]]:
        """One prediction, or none if there is no answer to the text."""
        if result.entities is None:
            return []
        regions = [
            region(
                Entity(e.start, e.end, e.label, e.text), self.name, None if e.score is UNSET else e.score, self.text
            )
            for e in result.entities
        ]
        return [prediction(regions) | {"model_version": version}]


def read_interface(schema: str, known: Sequence[str]) -> Control:
    """Find the labels of a text in a project's labeling interface (XML).

    Args:
        known: the labels of the model; of the project's labels these are asked for. An ``alias`` counts before the
            ``value`` that is shown.

    Raises:
        Failed: 422: it is not such an interface, or shares no label with the model.
    """
    try:
        if "<!DOCTYPE" in schema:  # whose entities could fill the memory
            raise ValueError("has a document type")
        tags = list(ElementTree.fromstring(schema).iter())  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise Failed(422, f"the labeling interface is not XML of Label Studio ({one_line(str(error))})") from None
    texts = {tag.get("name", ""): tag.get("value", "") for tag in tags if tag.tag == "Text"}
    others: list[str] = []  # labels of the project that the model does not have
    for tag in tags:
        key = texts.get(tag.get("toName", ""), "")
        if tag.tag != "Labels" or not key.startswith("$") or not tag.get("name"):
            continue
        labels = [label.get("alias") or label.get("value") or "" for label in tag.iter("Label")]
        if shared := [label for label in known if label in labels]:
            return Control(tag.get("name", ""), tag.get("toName", ""), key[1:], shared)
        others += labels
    if others:
        there = ", ".join(map(one_line, others[:20]))
        raise Failed(422, f"the model has none of the project's labels ({there}); it has {', '.join(known)}")
    raise Failed(422, f"the labeling interface has no labels for a text; use one like {INTERFACE}")


def add_label_studio(app: "FastAPI", service: Service) -> None:
    """Add the addresses that Label Studio calls."""
    from fastapi import Request
    from starlette.responses import Response

    def answer(content: dict[str, Any]) -> Response:
        return Response(msgspec.json.encode(content), media_type=JSON)

    async def health(request: Request) -> Response:
        return answer({"status": "UP"})

    async def setup(request: Request) -> Response:
        service.client(request)
        asked = read_as(await service.body(request), Setup, f'{{"schema": "{INTERFACE}"}}')
        model = service.default
        read_interface(asked.schema, model.spec.labels)
        return answer({"model_version": model.version})

    async def versions(request: Request) -> Response:
        service.client(request)
        return answer({"versions": [service.default.version]})

    async def predict(request: Request) -> Response:
        client = service.client(request)
        asked = read_as(await service.body(request), Tasks, '{"tasks": […], "label_config": "…"}')
        control = read_interface(asked.label_config, service.default.spec.labels)
        wanted = Extract(texts=control.texts(asked.tasks), labels=control.labels, scores=True)
        model, results = await service.answers(request, client, wanted)
        return answer({"results": [control.predictions(result, model.version) for result in results]})

    async def webhook(request: Request) -> Response:
        service.client(request)
        return answer({})

    for name, method, endpoint in (
        ("health", "GET", health),
        ("setup", "POST", setup),
        ("versions", "GET", versions),
        ("predict", "POST", predict),
        ("webhook", "POST", webhook),
    ):
        app.add_api_route(f"{ROOT}/{name}", endpoint, methods=[method], include_in_schema=False)
