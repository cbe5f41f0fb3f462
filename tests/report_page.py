"""A report as its tests see it: the data in the page, what the page should say, and what the browser shows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from browser import Browser
from ner_data.gold import Entity, Record
from support import ROOT

# As many as in CLUENER: the matrix of so many labels is the widest thing on the page.
LABELS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
STRINGS = json.loads((ROOT / "eval/ner_eval/reporting/page/strings.json").read_text("utf-8"))
HOSTILE = "<script>window.broken=1</script><img src=x onerror='window.broken=1'></script>\u202e"
# A small example: a sentence and its three mentions.
TEXT = "林晓在云帆科技任经理"
GOLD = (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"), Entity(8, 10, "position", "经理"))


def gold_answer(record: Record, **labels: str) -> str:
    """The right answer, except for labels that are replaced."""
    items = [{"label": labels.get(e.label, e.label), "text": e.text} for e in record.gold]
    return json.dumps(items, ensure_ascii=False)


def data_of(path: Path) -> dict[str, Any]:
    """The data in a report.html."""
    html = path.read_text("utf-8")
    start = html.index('id="data">') + len('id="data">')
    return json.loads(html[start : html.index("</script>", start)])


def keep(browser: Browser, name: str, tmp_path: Path) -> None:
    """Take a picture; it stays if SCREENSHOTS names a folder."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    browser.screenshot(folder / f"{name}.png")


# --- what the page should say ----------------------------------------------------------------------------------------


def say(key: str, language: str = "zh", **values: object) -> str:
    return STRINGS[language][key].format(**values)


def said(sums: list[list[Any]], language: str = "zh") -> list[str]:
    """The lines that tell how counts add up."""
    return [say(key, language, **values) for key, values in sums]


def four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


def interval(ends: list[float]) -> str:
    return f"[{four(ends[0])}, {four(ends[1])}]"


# --- what the browser shows ------------------------------------------------------------------------------------------


def count(browser: Browser) -> int:
    return int(browser.run("return document.getElementById('found').dataset.count"))


def kinds_shown(browser: Browser) -> list[set[str]]:
    script = """return [...document.querySelectorAll('#examples .example')].map(
        (card) => [...card.querySelectorAll('.kind')].map((node) => node.innerText))"""
    return [set(kinds) for kinds in browser.run(script)]


def rows(browser: Browser, within: str) -> list[list[str]]:
    """What the cells of the tables in an element say, row by row; tables in closed details are left out."""
    script = """return [...document.querySelectorAll(`${arguments[0]} tbody tr`)].filter((row) => row.checkVisibility({
        contentVisibilityAuto: true })).map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"""
    return browser.run(script, within)


def lines(browser: Browser, section: str) -> list[list[str]]:
    """Name and figure of each line with a bar that is in no table."""
    script = """return [...document.querySelectorAll(`#${arguments[0]} .row`)].map(
        (row) => [row.firstChild.innerText, row.lastChild.innerText])"""
    return browser.run(script, section)


def filled(browser: Browser, within: str) -> list[float]:
    """The part of each visible bar's area that is drawn as filled."""
    script = """const area = (node) => { const { width, height } = node.getBoundingClientRect(); return width * height; };
        return [...document.querySelectorAll(`${arguments[0]} .bar`)].filter((bar) =>
            bar.checkVisibility({ contentVisibilityAuto: true })).map((bar) => area(bar.firstChild) / area(bar))"""
    return browser.run(script, within)


def near(values: list[float]) -> object:
    return pytest.approx(values, abs=0.005)
