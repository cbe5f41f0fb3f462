"""The HTML page of `ner-data check`: self-contained, safe whatever the data say, and readable in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from browser import chromium
from report_page import HOSTILE, keep
from support import Result

Cli = Callable[..., Result]
Gold = Callable[..., Path]


@pytest.fixture
def page(gold: Gold, cli: Cli) -> Path:
    """The page of a corpus with hostile texts."""
    texts = [f"[a:林晓{n % 3}]在[b:北京{n % 4}]，{HOSTILE}" for n in range(40)]
    gold(
        train=[*texts, *texts[:5], f"[a:{HOSTILE.replace('[', '').replace(']', '')}，]来了", "[b:林晓1]"],
        dev=texts[:8],
    )
    assert cli("ner-data", "check", "tiny", "--html", "out/page.html").code == 0
    return Path("out/page.html").absolute()


def test_the_page_asks_no_network_and_runs_nothing(page: Path) -> None:
    html = page.read_text("utf-8")
    assert "default-src 'none'" in html and "script-src" not in html
    assert not re.search(r"<script|<img|@import|url\(|https?://", html)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", html)
    assert "&lt;script&gt;window.broken=1&lt;/script&gt;" in html
    assert "\u202e" not in html and "\\u202e" in html


def test_every_class_that_was_found_has_a_section_with_its_places(page: Path) -> None:
    html = page.read_text("utf-8")
    for name in ("leakage", "duplicates", "ambiguous", "boundaries", "negatives"):
        assert f'<section id="{name}">' in html and f'href="#{name}"' in html
    assert '<section id="overlaps">' not in html and "Looked for and not found: " in html
    assert "<code>train train.raw:41</code>" in html
    assert html.count("<svg") == 2 and "<title>train, 2: " in html


@pytest.mark.slow
def test_the_page_in_a_real_browser(page: Path, tmp_path: Path) -> None:
    for phone in (False, True):
        with chromium(tmp_path / f"profile-{phone}", phone) as browser:
            browser.open(page)
            assert browser.errors() == [] and browser.requests() == []
            assert browser.run("return window.broken") is None
            assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
            titles = browser.texts("h2")
            assert titles[:4] == ["What to do", "Sizes", "Labels", "Distributions"]
            assert "Texts in more than one split 8" in " ".join(" ".join(titles).split())
            boxes = browser.run(
                "return [...document.querySelectorAll('svg')].map((one) => one.getBoundingClientRect().width)"
            )
            assert len(boxes) == 2 and min(boxes) > 250
            shown = browser.run("return document.querySelector('#boundaries mark').innerText")
            assert "<script>" in shown
            browser.click(".todo a[href='#leakage']")
            assert browser.run("return location.hash") == "#leakage"
            keep(browser, f"check-{'phone' if phone else 'wide'}", tmp_path)
