"""The HTTP application: its addresses, their description, and its pages."""

import math
from importlib.resources import files
from typing import Any

import msgspec

from ner_common.machine import installed
from ner_common.pages import nodes, style
from ner_eval.service.failures import Failed
from ner_eval.service.gate import EXTRACT, Gate
from ner_eval.service.label_studio import add_label_studio
from ner_eval.service.messages import Models, Problem, Served, described
from ner_eval.service.service import JSON, LINES, Service

PAGES = {
    "/": ("index.html", "text/html"),
    "/docs": ("docs.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/docs.js": ("docs.js", "text/javascript"),
    "/strings.json": ("strings.json", JSON),
}
STATUSES = {
    400: "The body is empty or not JSON.",
    401: "The key is missing or wrong.",
    404: "No such model.",
    408: "The body did not arrive in time.",
    413: "The body has too many bytes or texts.",
    415: "The body is not declared as JSON.",
    422: "The JSON is no request, has an unknown label, a bad threshold or too much context, or the text is refused.",
    429: "The client sends too many texts; Retry-After says when to try again.",
    503: "No engine answers, it fails on the text, or the service has too many requests at the same time.",
    504: "There was no answer before the deadline.",
}


def application(service: Service) -> Gate:
    """The ASGI application of a service."""
    from fastapi import FastAPI, Request
    from starlette.responses import Response

    app = FastAPI(
        title="llamafactory-ner", version=installed("llamafactory-ner") or "0", docs_url=None, redoc_url=None
    )
    components, types = described()
    failures: dict[int | str, dict[str, Any]]
    failures = {status: _content(says, types["Problem"]) for status, says in STATUSES.items()}

    def extract_described() -> dict[str, Any]:
        answer = _content("The entities of every text.", types["Extracted"])
        answer["content"][LINES] = {"schema": types["Result"]}
        body = {"required": True, "content": {JSON: {"schema": types["Extract"]}}}
        return {"requestBody": body, "responses": {"200": answer}, "security": [{"key": []}]}

    @app.post(EXTRACT, responses=failures, openapi_extra=extract_described())
    async def extract(request: Request) -> Response:
        """Find the entities of one text, of many, or of a document.

        With `stream`, or the header `Accept: application/x-ndjson`, every result is a line of its own, sent as soon as
        it is there; if the service cannot go on, the last line is `{"error": …}`.
        """
        return await service.extract(request)

    asked_for = {"200": _content("The default model comes first.", types["Models"])}

    @app.get(
        "/models", responses={401: failures[401]}, openapi_extra={"responses": asked_for, "security": [{"key": []}]}
    )
    async def models(request: Request) -> Response:
        """List the models that may be asked, with their labels."""
        service.client(request)
        served = [Served(name, list(model.spec.labels)) for name, model in service.models.items()]
        return Response(msgspec.json.encode(Models(served)), media_type=JSON)

    @app.get("/health")
    async def health() -> Response:
        """Say that the service itself runs."""
        return Response(b'{"status":"alive"}', media_type=JSON)

    @app.get("/ready", responses={503: failures[503]})
    async def ready() -> Response:
        """Say whether an engine answers and serves every model."""
        if absent := [name for name, model in service.models.items() if not await model.ready()]:
            raise Failed(503, f"no engine serves {', '.join(absent)}")
        return Response(b'{"status":"ready"}', media_type=JSON)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    add_label_studio(app, service)
    _add_pages(app)
    _add_failures(app)
    _describe(app, components)
    return Gate(app, service, frozenset(str(getattr(route, "path", "")) for route in app.routes))


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _add_pages(app: Any) -> None:
    from starlette.requests import Request
    from starlette.responses import Response

    folder = files("ner_eval.service") / "page"
    contents = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in PAGES.items()}
    contents |= {"/style.css": (style().encode(), "text/css"), "/nodes.js": (nodes().encode(), "text/javascript")}

    async def page(request: Request) -> Response:
        content, kind = contents[request.url.path]
        return Response(content, media_type=kind)

    for path in contents:
        app.add_route(path, page, methods=["GET"])


def _add_failures(app: Any) -> None:
    """All errors are JSON: ours, and those of unknown addresses and methods."""
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

    async def failed(request: Request, error: Failed) -> Response:
        headers = {} if error.wait is None else {"retry-after": str(math.ceil(error.wait))}
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        if error.status in (408, 413):
            headers["connection"] = "close"  # the rest of the body is not read
        return Response(msgspec.json.encode(Problem(error.problem)), error.status, headers, JSON)

    async def unknown(request: Request, error: HTTPException) -> Response:
        content = msgspec.json.encode(Problem(f"{error.detail}; see /docs"))
        return Response(content, error.status_code, error.headers, JSON)

    async def broken(request: Request, error: Exception) -> Response:
        return Response(msgspec.json.encode(Problem("an error in the service; see its log")), 500, media_type=JSON)

    app.add_exception_handler(Failed, failed)
    app.add_exception_handler(Exception, broken)
    app.add_exception_handler(HTTPException, unknown)


def _describe(app: Any, components: dict[str, Any]) -> None:
    """Put our types into the OpenAPI description, which FastAPI makes once, at the first request for it."""
    from fastapi.openapi.utils import get_openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            value = get_openapi(title=app.title, version=app.version, routes=app.routes)
            keys = {"key": {"type": "http", "scheme": "bearer"}}
            value["components"] = {"schemas": components, "securitySchemes": keys}
            app.openapi_schema = value
        return dict(app.openapi_schema)

    app.openapi = openapi
