"""The font of the plot: a Chinese font of this system, preferably simplified and of regular weight."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import UserError

# Characters from both corpora's labels; a font that has these has the others.
_PROBE = "临床表现组织机构"
REMEDY = "install one (Debian: apt-get install fonts-noto-cjk or fonts-wqy-microhei)"
# Faces with the glyphs of other regions, by their names in collections such as NotoSansCJK.
_OTHER_COUNTRY = re.compile(r"\b(JP|KR|TC|HK|TW|MO|Japanese|Korean|Traditional)\b")
_SIMPLIFIED = re.compile(r"\b(SC|CN|GB|Hans|Simplified)\b")
_NOT_SANS = re.compile(r"\b(Serif|Mono|Ming|Song|Kai|Fangsong)\b|宋|楷", re.IGNORECASE)
_REGULAR = 400  # usWeightClass of OpenType's OS/2 table


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a font file; collections (``.ttc``) hold several."""

    path: Path
    index: int
    family: str
    weight: int

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key, best face first; the path comes last, so the choice is stable."""
        off = abs(self.weight - _REGULAR)
        unusual = bool(_NOT_SANS.search(self.family)), not _SIMPLIFIED.search(self.family)
        return bool(_OTHER_COUNTRY.search(self.family)), off > 100, *unusual, off, str(self.path), self.index

    def properties(self) -> Any:
        """The face as matplotlib's FontProperties."""
        from matplotlib.font_manager import FontPath, FontProperties

        return FontProperties(fname=FontPath(str(self.path), self.index))


def chinese_face() -> Face:
    """Find the face to draw Chinese with.

    Raises:
        UserError: there is none, or matplotlib is missing or too old to open one face of a collection.
    """
    try:
        from matplotlib import font_manager
        from matplotlib.font_manager import FontPath  # noqa: F401 - since 3.11
    except ImportError:
        raise UserError("the plot needs matplotlib 3.11 or newer; `pip install -U matplotlib`") from None
    faces = [face for path in font_manager.findSystemFonts() for face in _faces(Path(path))]
    if not faces:
        raise UserError(f"the plot needs a font with Chinese characters, and this system has none; {REMEDY}")
    return min(faces, key=lambda face: face.order)


def _faces(path: Path) -> Iterator[Face]:
    """The faces of a file that have Chinese characters."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
        # The faces of a collection share their characters.
        glyphs = font.get_charmap()
    except RuntimeError:
        return  # not every font file of the system can be opened (bitmap formats)
    if not all(ord(char) in glyphs for char in _PROBE):
        return
    for index in range(font.num_faces):
        face = FT2Font(str(path), face_index=index)
        table = face.get_sfnt_table("OS/2")
        yield Face(path, index, face.family_name, table["usWeightClass"] if table else _REGULAR)
