"""The words of a report, zh and en: ``page/strings.json`` serves the page, the Markdown and the plot alike."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

LANGUAGES = ("zh", "en")
Say = Callable[..., str]


def read_strings() -> dict[str, dict[str, str]]:
    """All strings, by language and key."""
    strings: dict[str, dict[str, str]] = json.loads(
        (files("ner_eval.reporting") / "page/strings.json").read_text("utf-8")
    )
    return strings


def wording(language: str) -> Say:
    """A function that looks up a key in a language and fills its placeholders: ``say("found", n=3, m=4)``."""
    strings = read_strings()[language]

    def say(key: str, **values: Any) -> str:
        return strings[key].format(**values)

    return say


def kind_name(kind: str, say: Say) -> str:
    """The name of an error class (``label`` is also the word for a label)."""
    return say("label_class" if kind == "label" else kind)


def fact_value(value: Any, say: Say) -> str:
    """A value of `ner_eval.reporting.run_facts` in words."""
    if value is None:
        return say("not_recorded")
    return say(value["say"], **value["with"]) if isinstance(value, dict) else str(value)


def four(value: float | None) -> str:
    """A figure with 4 digits; a dash for one that is undefined."""
    return "–" if value is None else f"{value:.4f}"
