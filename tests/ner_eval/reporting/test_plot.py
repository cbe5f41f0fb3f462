"""The plot, its font, and what happens without either."""

import sys
from pathlib import Path

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from matplotlib import font_manager

from ner_common.errors import UserError
from ner_eval.reporting import fonts
from support import one_line_error


def blank_font(path: Path, family: str = "Blank", weight: int = 400) -> Path:
    """Write a font with blank Chinese characters: the machine may have no other."""
    characters = {*range(0x20, 0x7F), 0xB7, *range(0x2000, 0x2070), *range(0x3000, 0xA000), *range(0xFF00, 0xFF60)}
    glyphs = (".notdef", "blank")
    font = FontBuilder(1000)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap(dict.fromkeys(characters, "blank"))
    font.setupGlyf({name: TTGlyphPen(None).glyph() for name in glyphs})
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2(usWeightClass=weight)
    font.setupPost()
    font.save(path)
    return path


def collection(path: Path, *families: str, weight: int = 400) -> Path:
    """Write a collection with one face per family."""
    faces = TTCollection()
    faces.fonts = [TTFont(blank_font(path.with_name(f"{n}.ttf"), name, weight)) for n, name in enumerate(families)]
    faces.save(path)
    return path


@pytest.fixture
def chinese_font(tmp_path) -> Path:
    return blank_font(tmp_path / "blank.ttf")


@pytest.fixture
def chosen(monkeypatch):
    """The face chosen on a system with the given font files: file name, index and family."""

    def choose(*paths: Path) -> tuple[str, int, str]:
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path) for path in paths])
        face = fonts.chinese_face()
        return face.path.name, face.index, face.family

    return choose


NOTO = ("Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK SC", "Noto Sans CJK TC")


def test_of_a_collection_the_simplified_face_of_regular_weight_is_chosen(tmp_path, chosen):
    bold = collection(tmp_path / "Bold.ttc", *NOTO, weight=700)
    regular = collection(tmp_path / "Regular.ttc", *NOTO)
    assert chosen(bold, regular) == ("Regular.ttc", 2, "Noto Sans CJK SC")


def test_a_regular_font_goes_before_a_bold_one_and_a_sans_before_a_serif(tmp_path, chosen):
    bold = collection(tmp_path / "Bold.ttc", *NOTO, weight=700)
    other = blank_font(tmp_path / "wqy.ttf", "WenQuanYi Micro Hei")
    serif = blank_font(tmp_path / "aa.ttf", "Noto Serif CJK SC")
    assert chosen(bold, serif, other) == ("wqy.ttf", 0, "WenQuanYi Micro Hei")
    assert chosen(bold, serif)[2] == "Noto Serif CJK SC"


def test_bold_and_japanese_are_taken_only_if_there_is_nothing_else(tmp_path, chosen):
    bold = collection(tmp_path / "Bold.ttc", *NOTO, weight=700)
    japanese = blank_font(tmp_path / "jp.ttf", "Noto Sans CJK JP")
    assert chosen(bold, japanese) == ("Bold.ttc", 2, "Noto Sans CJK SC")
    assert chosen(japanese) == ("jp.ttf", 0, "Noto Sans CJK JP")
    with pytest.raises(UserError, match="this system has none"):
        chosen(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")


def draw_and_check(folder, ner_eval, recwarn, language: str = "zh") -> None:
    ended = ner_eval("report", folder, "--png", "--lang", language)
    assert ended.code == 0, ended.err
    assert (folder / "f1.png").read_bytes().startswith(b"\x89PNG")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_the_plot_is_drawn_with_the_font_that_has_chinese_characters(
    reported, ner_eval, monkeypatch, recwarn, chinese_font
):
    without = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(without), str(chinese_font)])
    draw_and_check(reported[0], ner_eval, recwarn)


@pytest.mark.slow
def test_the_plot_is_drawn_with_a_font_of_this_machine(reported, ner_eval, recwarn):
    """Fails if there is none, and says which packages have one."""
    draw_and_check(reported[0], ner_eval, recwarn)
    chinese = (reported[0] / "f1.png").read_bytes()
    draw_and_check(reported[0], ner_eval, recwarn, "en")
    assert (reported[0] / "f1.png").read_bytes() != chinese
    face = fonts.chinese_face()
    assert abs(face.weight - 400) <= 100 and "JP" not in face.family


def test_without_a_font_the_report_is_written_and_says_what_is_missing(reported, ner_eval, monkeypatch):
    folder, _ = reported
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    ended = ner_eval("report", folder)
    assert ended.code == 0
    assert "no f1.png: the plot needs a font with Chinese characters" in ended.out
    assert not (folder / "f1.png").exists()
    assert "fonts-noto-cjk" in one_line_error(ner_eval("report", folder, "--png"))
    assert fonts.REMEDY in ended.out


def test_without_matplotlib_the_report_is_written_and_says_what_is_missing(reported, ner_eval, monkeypatch):
    folder, _ = reported
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = ner_eval("report", folder)
    assert ended.code == 0
    assert "no f1.png: the plot needs matplotlib 3.11 or newer; `pip install -U matplotlib`" in ended.out
    assert "pip install -U matplotlib" in one_line_error(ner_eval("report", folder, "--png"))
