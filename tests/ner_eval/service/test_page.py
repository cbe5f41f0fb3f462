"""The page at `/`, in a real Chromium: with mouse, keyboard and phone."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, chromium
from faulty import Faulty, Script, completion, failure
from report_page import keep
from scored_answers import giving, refusing_scores
from support import ROOT

TEXT = "林晓在云帆科技任经理"
STRINGS = json.loads((ROOT / "eval/ner_eval/service/page/strings.json").read_text("utf-8"))
FOUND = [("name", "林晓", 0.95), ("company", "云帆科技", 0.4)]
HOSTILE = "<img src=x onerror='window.broken=1'></textarea><script>window.broken=1</script>\u202e{title}"
CONTROL, ENTER, TAB, RIGHT, HOME = "\ue009", "\ue007", "\ue004", "\ue014", "\ue011"


@pytest.fixture(scope="module")
def desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def opened(browser: Browser, api: Any, path: str = "/") -> Browser:
    browser.errors()
    browser.requests(api.url)
    browser.open(api.url + path)
    return browser


def ask(browser: Browser, text: str) -> None:
    """Type a text and press Ctrl+Enter."""
    until(lambda: browser.texts("#model option") or browser.texts("#status.bad"))
    browser.run("document.getElementById('text').value = ''")
    if max(text) < "\uffff" and "\n" not in text:
        browser.press("#text", text)
    else:  # chromedriver types no characters outside the basic plane
        browser.run("document.getElementById('text').value = arguments[0]", text)
    browser.press("#text", CONTROL + ENTER)


def answered(browser: Browser) -> None:
    until(lambda: not browser.run("return document.getElementById('found').hidden"))
    until(lambda: "…" not in browser.texts("#status")[0])


def marks(browser: Browser) -> list[str]:
    return browser.texts("#marked mark")


def test_a_text_shows_its_entities_in_colour_with_their_scores(
    api, engine: Faulty, desktop: Browser, tmp_path: Path
) -> None:
    engine.script = giving(FOUND)
    browser = opened(desktop, api)
    ask(browser, TEXT)
    answered(browser)
    assert marks(browser) == ["林晓", "云帆科技"] and browser.texts("#marked .tag") == ["name 0.95", "company 0.40"]
    colours = browser.run(
        "return [...document.querySelectorAll('#marked mark')].map((node) => getComputedStyle(node).backgroundColor)"
    )
    assert len(set(colours)) == 2 and "rgba(0, 0, 0, 0)" not in colours
    assert browser.run("return document.getElementById('marked').textContent").startswith("林晓name 0.95在云帆科技")
    assert browser.texts("#list tbody tr:first-child td") == ["林晓", "name", "0.9500", "0–2"]
    keep(browser, "service", tmp_path)
    assert browser.errors() == [] and browser.requests(api.url) == []


def test_the_slider_and_the_labels_choose_without_asking_again(api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving(FOUND)
    browser = opened(desktop, api)
    ask(browser, TEXT)
    answered(browser)
    asked = len(engine.asked)
    browser.press("#threshold", RIGHT * 41)
    assert browser.texts("#least") == ["0.41"] and marks(browser) == ["林晓"]
    browser.press("#threshold", HOME)
    assert marks(browser) == ["林晓", "云帆科技"]
    browser.press("#labels button[data-label=name]", ENTER)
    assert marks(browser) == ["云帆科技"]
    assert browser.run("return document.activeElement.dataset.label") == "name"  # the focus stays
    assert browser.run("return document.activeElement.getAttribute('aria-pressed')") == "false"
    browser.press("#labels button[data-label=name]", ENTER)
    assert marks(browser) == ["林晓", "云帆科技"] and len(engine.asked) == asked


def test_what_is_shown_is_copied_as_json(api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving(FOUND)
    browser = opened(desktop, api)
    browser.grant(api.url, "clipboardReadWrite", "clipboardSanitizedWrite")
    ask(browser, TEXT)
    answered(browser)
    browser.press("#threshold", RIGHT * 50)
    browser.click("#copy")
    until(lambda: browser.texts("#copied") != [""])
    copied = json.loads(browser.run("return navigator.clipboard.readText()"))
    entity = {"start": 0, "end": 2, "label": "name", "text": "林晓", "score": 0.95}
    assert copied == {"model": "nano", "text": TEXT, "threshold": 0.5, "entities": [entity]}


def test_the_model_can_be_chosen(api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving(FOUND)
    browser = opened(desktop, api)
    until(lambda: browser.texts("#model option") == ["nano", "other"])
    browser.choose("#model", "other")
    ask(browser, TEXT)
    answered(browser)
    assert engine.bodies[-1]["model"] == "other"


def test_hostile_text_is_shown_as_text(api, engine: Faulty, desktop: Browser) -> None:
    async def hostile(server: Faulty, body: dict[str, Any]) -> Any:
        items = [{"label": "name", "text": HOSTILE[11:37]}, {"label": HOSTILE, "text": HOSTILE}]
        return completion(json.dumps(items))

    engine.script = hostile
    browser = opened(desktop, api)
    ask(browser, HOSTILE)
    answered(browser)
    assert browser.run("return window.broken") is None and browser.texts("#page img, #page script") == []
    shown = browser.run("return document.getElementById('marked').textContent")
    assert "<script>window.broken=1</script>U+202E{title}" in shown and marks(browser) == [
        "onerror='window.broken=1'>"
    ]
    assert any("unknown label" in problem for problem in browser.texts("#problems li"))
    assert STRINGS["en"]["no_scores"] in browser.texts("#status")[0]  # this engine has none, and was asked again
    # The refused request for scores is the only thing that the console may mention.
    assert all("422" in line for line in browser.errors()) and browser.requests(api.url) == []


def test_offsets_are_right_after_characters_outside_the_basic_plane(api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving([("name", "林晓", 0.9)])
    browser = opened(desktop, api)
    ask(browser, "𠮷野家🍜\n林晓在")
    answered(browser)
    assert marks(browser) == ["林晓"] and browser.texts("#list tbody td")[-1] == "5–7"


def test_chinese_and_english(api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving(FOUND)
    browser = opened(desktop, api)
    ask(browser, TEXT)
    answered(browser)
    for language, name in (("zh", "zh-CN"), ("en", "en")):
        if browser.run("return document.documentElement.lang") != name:
            browser.press("#language", ENTER)
        words = STRINGS[language]
        assert browser.run("return document.documentElement.lang") == name
        assert browser.texts("h1") == [words["title"]] and browser.texts("#find, #copy") == [
            words["find"],
            words["copy"],
        ]
        assert browser.texts("#list th")[0] == words["entity"] and marks(browser) == ["林晓", "云帆科技"]
        assert browser.run("return document.body.innerText").find("undefined") < 0


def test_everything_can_be_reached_with_the_keyboard(api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving(FOUND)
    browser = opened(desktop, api)
    ask(browser, TEXT)
    answered(browser)
    reached = []
    browser.run("document.getElementById('text').focus()")
    for _ in range(9):
        browser.press(":focus", TAB)
        reached.append(
            browser.run("const node = document.activeElement; return node.id || node.dataset.label || node.tagName")
        )
        outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or reached[-1] in ("SUMMARY", "BODY"), reached
        if reached[-1] == "SUMMARY":
            break
    assert reached == ["model", "find", "threshold", "company", "name", "copy", "SUMMARY"]


def test_problems_are_said_and_do_not_stay(api, engine: Faulty, desktop: Browser) -> None:
    browser = opened(desktop, api)
    ask(browser, " ")
    assert browser.texts("#status.bad") == [STRINGS["en"]["nothing"]]

    async def refuse(server: Faulty, body: dict[str, Any]) -> Any:
        return failure(400, "<b>too long</b>")

    engine.script = refuse
    ask(browser, TEXT)
    until(lambda: browser.texts("#status.bad") and "<b>too long</b>" in browser.texts("#status.bad")[0])
    engine.script = giving(FOUND)
    ask(browser, TEXT)
    answered(browser)
    assert browser.texts("#status.bad") == [] and marks(browser) == ["林晓", "云帆科技"]


@pytest.mark.parametrize("script", [None, refusing_scores])
def test_an_engine_without_scores_is_asked_for_them_once(
    api, engine: Faulty, desktop: Browser, script: Script | None
) -> None:
    engine.script = script
    engine.bodies.clear()
    browser = opened(desktop, api)
    for text, requests in ((TEXT, [True, False]), (f"后来{TEXT}", [True, False, False])):
        ask(browser, text)
        until(lambda text=text: marks(browser) == [text[:2]])
        assert STRINGS["en"]["no_scores"] in browser.texts("#status")[0]
        assert ["logprobs" in body for body in engine.bodies] == requests
    browser.choose("#model", "other")
    ask(browser, TEXT)
    until(lambda: len(engine.bodies) == 5)
    assert [engine.bodies[n]["model"] for n in (3, 4)] == ["other"] * 2 and "logprobs" in engine.bodies[3]


def test_a_key_is_asked_for_where_one_is_needed(start_api, engine: Faulty, desktop: Browser) -> None:
    engine.script = giving(FOUND)
    with start_api(NER_API_KEYS="secret") as api:
        browser = opened(desktop, api)
        until(lambda: browser.texts("#status.bad") == [STRINGS["en"]["need_key"]])
        ask(browser, TEXT)
        browser.press("#key", "密钥" + ENTER)
        until(lambda: browser.texts("#status.bad") == [STRINGS["en"]["bad_key"]])
        browser.run("document.getElementById('key').value = ''")
        browser.press("#key", "secret" + ENTER)
        answered(browser)
        assert marks(browser) == ["林晓", "云帆科技"]
    engine.script = None


def test_on_a_phone_nothing_is_cut_off(api, engine: Faulty, tmp_path: Path) -> None:
    engine.script = giving(FOUND)
    with chromium(tmp_path / "profile", phone=True) as browser:
        opened(browser, api)
        ask(browser, TEXT * 30)
        answered(browser)
        keep(browser, "service-phone", tmp_path)
        width = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1] == 390
        heights = browser.run(
            "return [...document.querySelectorAll('button, select, input')].filter((node) => node.checkVisibility())"
            ".map((node) => node.getBoundingClientRect().height)"
        )
        assert min(heights) >= 30
        opened(browser, api, "/docs")
        until(lambda: browser.texts("#operations h2"))
        assert browser.run("return document.documentElement.scrollWidth") <= 390


def test_the_description_is_a_page_too(api, desktop: Browser) -> None:
    browser = opened(desktop, api, "/docs")
    until(lambda: browser.texts("#operations h2"))
    assert "POST /extract" in browser.texts("#operations h2") and "threshold" in browser.texts("#types pre")[0]
    assert f"curl {api.url}/extract" in browser.texts("#curl")[0]
    assert browser.errors() == [] and browser.requests(api.url) == []
