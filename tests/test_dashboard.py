"""deploy/grafana-dashboard.json asks for what a real vLLM reports, and in the way that fits each metric's type."""

import json
import re
from typing import Any

import httpx
import pytest

from support import ROOT, Served

pytestmark = pytest.mark.serve

SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}(\[\$__rate_interval\])?")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
TARGET = {"instance", "job"}  # Prometheus adds them
Samples = dict[str, tuple[str, list[dict[str, str]]]]


def expressions() -> dict[str, str]:
    """Every query of the dashboard, by panel and legend."""
    board = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }


@pytest.fixture(scope="module")
def samples(server: Served) -> Samples:
    """Of each sample name: the type of its metric, and the labels of all its samples."""
    from prometheus_client.parser import text_string_to_metric_families

    body: dict[str, Any] = {"model": "nano", "messages": [{"role": "user", "content": "林晓"}], "max_tokens": 2}
    httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=60).raise_for_status()
    text = httpx.get(server.base_url.removesuffix("v1") + "metrics", timeout=30).raise_for_status().text
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, (family.type, []))[1].append(sample.labels)
    return found


def problems(expression: str, samples: Samples) -> list[str]:
    """What is wrong with a query, as far as a server's own metrics tell."""
    found = []
    known = set(TARGET)
    selectors = list(SELECTOR.finditer(expression))
    for selector in selectors:
        name, matchers, window = selector.groups()
        kind, labels = samples.get(name, ("absent", []))
        rated = bool(window) and expression[: selector.start()].endswith("rate(")
        quantile = (
            rated
            and name.endswith("_bucket")
            and expression.startswith("histogram_quantile(")
            and "(le)" in expression
        )
        fits = {"gauge": not window, "counter": rated and name.endswith("_total"), "histogram": quantile}
        if not fits.get(kind):
            found.append(f"{name}: {kind}")
        asked, own = MATCHER.findall(matchers), {label for each in labels for label in each}
        found += [f"{name}: no label {label}" for label, *_ in asked if label not in TARGET | own]
        known |= own
        exact = {label: value for label, operator, value in asked if operator == "="}
        if not any(exact.items() <= each.items() for each in labels):
            found.append(f"{name}: no sample with {exact}")
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    if not selectors or "vllm:" in SELECTOR.sub("", expression) or not grouped <= known:
        found.append(f"not understood, or grouped by unknown labels: {grouped - known}")
    return found


def test_every_query_of_the_dashboard_finds_its_metric_in_a_real_server(samples: Samples) -> None:
    queries = expressions()
    assert len(queries) >= 15
    assert {name: found for name, query in queries.items() if (found := problems(query, samples))} == {}
    for needed in (
        "num_requests_waiting",
        "time_to_first_token",
        "prefix_cache_hits",
        "generation_tokens",
        "preemptions",
    ):
        assert any(needed in query for query in queries.values())


def test_its_variables_do_too(samples: Samples) -> None:
    board = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert len(asked) == 2
    for query in asked:
        name, label = re.fullmatch(r"label_values\(([\w:]+)[^,]*, (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in TARGET | set(samples[name][1][0])


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(rate(vllm:num_requests_waiting{}[$__rate_interval]))",  # a gauge
        "sum(vllm:generation_tokens_total{})",  # a counter without rate
        "sum(rate(vllm:generation_tokens{}[$__rate_interval]))",  # not the sample's name
        "sum(rate(vllm:time_to_first_token_seconds_sum{}[$__rate_interval]))",  # no quantile
        'sum(vllm:num_requests_waiting{model="x"})',  # no such label
        "sum by (model) (vllm:num_requests_waiting{})",
        'sum(rate(http_requests_total{handler="/v1/nothing"}[$__rate_interval]))',  # no such value
        "sum(vllm:num_requests_swapped{})",  # of vLLM 0
        "vllm:num_requests_running",
    ],
)
def test_a_wrong_query_is_noticed(samples: Samples, wrong: str) -> None:
    assert problems(wrong, samples)
