"""The report on paper and on a phone, in a real headless Chromium. Set SCREENSHOTS to a folder to keep the pictures."""

import pytest

from browser import chromium
from report_page import keep

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("chosen", [False, True], ids=["dark system", "dark by its button"])
def test_the_report_prints_black_on_white_and_within_the_paper(report, tmp_path, chosen):
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        browser.click("#language")
        if chosen:
            browser.click("#theme")
        scheme = {"name": "prefers-color-scheme", "value": "light" if chosen else "dark"}
        # A4 without its margins of 1 cm.
        paper = {"width": 718, "height": 1047, "deviceScaleFactor": 1, "mobile": False}
        browser._cdp("Emulation.setDeviceMetricsOverride", paper)
        browser._cdp("Emulation.setEmulatedMedia", {"media": "print", "features": [scheme]})
        keep(browser, f"print-{'chosen' if chosen else 'system'}", tmp_path)

        style = "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
        assert browser.run(style) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        # Red, green, blue and sometimes opacity: text is dark, and its background is light or a tint.
        colours = r"""const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
            return [...document.querySelectorAll('#page *:not(.bar i)')].filter((node) => node.checkVisibility()).map(
                (node) => { const style = getComputedStyle(node); return [style.color, style.backgroundColor].map(numbers); })"""
        for ink, ground in browser.run(colours):
            assert max(ink) < 150, ink
            opacity = ground[3] if len(ground) == 4 else 1
            assert min(ground[:3]) > 190 or opacity < 0.7, ground

        shown = "return [...document.querySelectorAll(arguments[0])].filter((node) => node.checkVisibility()).length"
        assert browser.run(shown, "h2") == 10
        assert browser.run(shown, "nav, .filters, select, input, header button, #more, .hint") == 0
        wide = """return [...document.querySelectorAll('#page *')].filter((node) =>
            node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80))"""
        assert browser.run(wide) == []
        assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [718, 718]
        assert browser.pdf().startswith(b"%PDF")


def test_the_report_is_readable_on_a_phone(report, tmp_path):
    with chromium(tmp_path / "profile", phone=True) as browser:
        browser.open(report)
        keep(browser, "phone", tmp_path)
        width = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert width == [390, 390]
        sizes = browser.run(
            "return [...document.querySelectorAll('.sentence bdi')].map(n => parseFloat(getComputedStyle(n).fontSize))"
        )
        assert min(sizes) >= 14
        # Elements wider than the screen scroll; the page does not.
        wide = browser.run("""return [...document.querySelectorAll('#page *')].filter((node) =>
            !node.closest('.scroll') && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80))""")
        assert wide == []
        assert browser.errors() == []


def test_on_a_phone_a_table_that_is_cut_says_so(report, tmp_path):
    script = """return [...document.querySelectorAll('.scroll')].filter((node) => node.checkVisibility({ contentVisibilityAuto: true }))
        .map((node) => [node.closest('section').id, node.scrollWidth > node.clientWidth + 1,
            node.previousSibling.checkVisibility(), node.tabIndex === 0])"""
    with chromium(tmp_path / "profile", phone=True) as browser:
        browser.open(report)
        browser.run("for (const node of document.querySelectorAll('details')) node.open = true;"
                    "return new Promise((go) => setTimeout(go, 100))")  # fmt: skip
        tables = browser.run(script)
        assert len(tables) == 10
        for section, wide, told, focusable in tables:
            assert wide == told == focusable, section
        assert ["confusion", True, True, True] in tables
        # The most important tables fit.
        assert not any(wide for section, wide, *_ in tables if section in ("comparison", "suspects", "answers"))
        # Whether the fifth does depends on this machine's fonts.
        assert not any([wide for section, wide, *_ in tables if section == "labels"][:4])
        # Row names stay visible.
        left = """const box = document.querySelector('#confusion .scroll'); box.scrollLeft = 200;
            return [box.getBoundingClientRect().left, box.querySelector('tbody th').getBoundingClientRect().left, box.scrollLeft]"""
        box, name, scrolled = browser.run(left)
        assert (round(box), scrolled) == (round(name), 200)


def test_on_a_phone_the_contents_fold_away_and_name_the_current_section(report, tmp_path):
    shown = "return document.querySelector('nav ul').checkVisibility()"
    with chromium(tmp_path / "profile", phone=True) as browser:
        browser.open(report)
        assert browser.texts("#contents") == ["目录 · 总体结果"]
        assert not browser.run(shown)
        browser.click("#contents")
        assert browser.run(shown)
        browser.click("nav a[href='#confusion']")
        assert not browser.run(shown)
        assert browser.texts("#contents") == ["目录 · 类别混淆矩阵"]
        top = "return arguments[0].map((what) => document.querySelector(what).getBoundingClientRect())"
        bar, heading = browser.run(top, ["nav", "#confusion h2"])
        assert bar["top"] == 0 and bar["bottom"] <= heading["top"]
