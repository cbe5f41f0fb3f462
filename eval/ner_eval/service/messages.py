"""What clients send and get: the types of the JSON, which the OpenAPI description shows too."""

from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from ner_common.decoding import NotJSON, decode_json
from ner_eval.service.failures import Failed

T = TypeVar("T")


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    """A text of any length with an id of yours."""

    id: Annotated[str, Meta(max_length=200)]
    text: str


class Extract(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `text`, `texts` and `document`; all else may be left out.

    A text may be of any length: longer ones than the model was trained on are sent to it in pieces.
    """

    text: Annotated[str | None, Meta(description="one text")] = None
    texts: Annotated[list[str] | None, Meta(description="many texts")] = None
    document: Annotated[Document | None, Meta(description="one text with an id of yours")] = None
    model: Annotated[str | None, Meta(description="a name of GET /models; by default the first")] = None
    labels: Annotated[list[str] | None, Meta(description="only entities with these labels; by default all")] = None
    threshold: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="only entities with at least this score")
    ] = None
    scores: Annotated[bool, Meta(description="a score with every entity (a threshold implies it)")] = False
    deadline: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="seconds until the request ends without an answer, at most the service's own"),
    ] = None
    context: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="up to so many characters before each piece are shown to the model"),
    ] = 0
    passes: Annotated[
        Annotated[int, Meta(ge=1, le=4)], Meta(description="how often long sentences are cut, each time elsewhere")
    ] = 1
    stream: Annotated[bool, Meta(description="JSON lines; the same as Accept: application/x-ndjson")] = False

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """The texts to ask for, with their ids."""
        if self.document is not None:
            return [(self.document.id, self.document.text)]
        texts = self.texts if self.texts is not None else [self.text or ""]
        return [(str(number), text) for number, text in enumerate(texts)]

    @property
    def scored(self) -> bool:
        """Whether the engine is asked for what scores are computed from."""
        return self.scores or self.threshold is not None


class Found(Struct, frozen=True, omit_defaults=True):
    """An entity; offsets are half-open and count characters (Unicode code points) of the text."""

    start: int
    end: int
    label: str
    text: str
    score: float | UnsetType = UNSET


class Result(Struct, frozen=True):
    """What was found in one text.

    `id` is the document's, or the text's number from 0. `entities` is null if there is no answer to this text;
    `problems` says why, or which part of the answer could not be used.
    """

    id: str
    entities: list[Found] | None
    problems: list[str]


class Broken(Result, frozen=True):
    """The result of a text that the engine failed on, and did not refuse; the JSON does not tell them apart."""


class Extracted(Struct, frozen=True):
    """The results, in the order of the texts."""

    model: str
    results: list[Result]


class Served(Struct, frozen=True):
    """A model that may be asked: its name and its labels."""

    name: str
    labels: list[str]


class Models(Struct, frozen=True):
    """All models, the default first."""

    models: list[Served]


class Problem(Struct, frozen=True):
    """Why a request has no answer, on one line."""

    error: str


def read_request(data: bytes) -> Extract:
    """Read the body of ``POST /extract``.

    Raises:
        Failed: 400: it is not JSON; 422: it is JSON of another kind.
    """
    request = read_as(data, Extract, '{"text": "…"}')
    if sum(given is not None for given in (request.text, request.texts, request.document)) != 1:
        raise Failed(422, "give exactly one of text, texts and document")
    return request


def read_as(data: bytes, kind: type[T], example: str) -> T:
    """Read the body of a request.

    Args:
        example: what such a body looks like, for an empty one.

    Raises:
        Failed: 400: it is not JSON; 422: it is JSON of another kind.
    """
    if not data.strip():
        raise Failed(400, f"the body is empty; send JSON like {example}")
    try:
        return decode_json(data, kind)
    except NotJSON as error:
        raise Failed(400, f"the body is not JSON ({error}, line {error.line})") from None
    except ValueError as error:
        raise Failed(422, f"this address takes other JSON: {error}") from None


def described() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The JSON schemas of all types by name, and a reference to each, for the OpenAPI description."""
    from msgspec.json import schema_components

    types = (Extract, Extracted, Result, Models, Problem)
    references, components = schema_components(types, ref_template="#/components/schemas/{name}")
    return components, {kind.__name__: reference for kind, reference in zip(types, references, strict=True)}
