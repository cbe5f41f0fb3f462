"""What Prometheus may scrape. No text, no label and no key is in it, so it is open to all who reach the service."""

from collections.abc import Mapping
from functools import partial

from ner_eval.service.messages import Result
from ner_eval.service.models import Model

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one process."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "ner_requests", "Requests that have ended; 499: the client hung up", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "ner_request_seconds", "Time from request to end of answer", ("path",), buckets=SECONDS, registry=registry
        )
        self._texts = Counter("ner_texts", "Texts by outcome", ("model", "outcome"), registry=registry)
        self._entities = Counter("ner_entities", "Entities returned", ("model",), registry=registry)
        self.in_flight = Gauge("ner_requests_in_flight", "Requests that have not ended", registry=registry)
        up = Gauge("ner_engines_up", "Engines that requests go to", ("model",), registry=registry)
        for name, model in models.items():
            up.labels(name).set_function(partial(_engines_up, model))

    def ended(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def found(self, model: str, result: Result) -> None:
        """Count what was found in a text."""
        self._texts.labels(model, "unanswered" if result.entities is None else "answered").inc()
        self._entities.labels(model).inc(len(result.entities or ()))

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


def _engines_up(model: Model) -> int:
    return sum(server.up for server in model.client.servers)
