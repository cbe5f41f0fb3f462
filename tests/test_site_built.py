"""The site of docs/ as built: no page loads anything from another host, links and search work in a browser."""

import functools
import re
import shutil
import subprocess
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browser import Browser, chromium
from ner_docs import LANGUAGES, assemble, names
from support import ROOT, tool


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does it."""
    folder = tmp_path_factory.mktemp("docs")
    assemble(folder / "site/pages")
    shutil.copytree(ROOT / "docs/overrides", folder / "overrides")
    for code in LANGUAGES:
        shutil.copy(ROOT / f"docs/zensical.{code}.toml", folder)
        words = [tool(".venv-docs", "zensical"), "build", "--strict", "-f", str(folder / f"zensical.{code}.toml")]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_no_page_of_the_site_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.glob("??/**/*.html"))
    assert len(pages) >= 2 * len(names("en"))
    for path in pages:
        text = path.read_text("utf-8")
        loaded = re.findall(
            r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)=[\"']?([^\"' >]+)", text
        )
        loaded += [
            link for link in re.findall(r"<link\b[^>]*>", text) if not re.search(r"rel=.?(canonical|alternate)", link)
        ]
        assert loaded and not [link for link in loaded if "//" in link], path
    for path in site.glob("??/**/*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\s]+", path.read_text("utf-8")), path


def test_the_site_links_each_page_to_the_same_one_in_the_other_language(site: Path) -> None:
    for code, other in (("en", "zh"), ("zh", "en")):
        for name in names(code):
            path = (site / code / name).with_suffix(".html")
            (link,) = re.findall(
                rf'href="([^"]+)" hreflang="{other}" class="md-select__link"', path.read_text("utf-8")
            )
            assert (path.parent / link).resolve() == (site / other / name).with_suffix(".html").resolve()


def test_pages_work_in_a_browser_and_ask_no_other_host(site: Path, tmp_path: Path) -> None:
    """Served as a web server does it: all that is loaded comes from there, and Chinese words are found."""
    handler = functools.partial(Quiet, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium(tmp_path / "profile") as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}/"
        for name in ("en/reference/ner-eval.html", "zh/troubleshooting.html", "zh/index.html"):
            visit(browser, home + name)
            loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
            assert loaded and all(url.startswith(home) for url in loaded), loaded
            assert browser.errors() == []
        browser.click(".md-search__button")
        assert "explanation/sharing" in " ".join(search(browser, "精确"))
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def search(browser: Browser, words: str) -> list[str]:
    """Type into the search, which is in a shadow tree; returns the addresses that it finds."""
    find = "const all = [...document.querySelectorAll('*')].flatMap((one) => [...(one.shadowRoot?.querySelectorAll('*') ?? [])]);"
    write = "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(box, arguments[0]);"
    for _ in range(100):
        script = f"{find} const box = all.find((one) => one.localName === 'input'); if (box && box.value === '') {{ {write} box.dispatchEvent(new Event('input', {{bubbles: true}})) }}"
        browser.run(script, words)
        if links := browser.run(f"{find} return all.filter((one) => one.localName === 'a').map((one) => one.href)"):
            return list(links)
        time.sleep(0.1)
    pytest.fail(f"nothing is found for {words}")


def visit(browser: Browser, url: str) -> None:
    browser.run("location.href = arguments[0]", url)
    for _ in range(100):
        if browser.run("return location.href === arguments[0] && document.readyState === 'complete'", url):
            return
        time.sleep(0.05)
    pytest.fail(f"{url} does not load")
