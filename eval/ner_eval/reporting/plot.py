"""The main plot as PNG, for slides: F1 of every label with its Chinese name."""

from pathlib import Path
from typing import Any

from ner_common.errors import UserError

# Common to both corpora's labels; a font that has these has the others.
_PROBE = "临床表现组织机构"
_REMEDY = "install one (Debian: apt-get install fonts-noto-cjk or fonts-wqy-microhei)"


def chinese_font() -> Path:
    """Find a font file with Chinese characters among those that the system has.

    Raises:
        UserError: there is none, or matplotlib is not installed.
    """
    try:
        from matplotlib import font_manager
        from matplotlib.ft2font import FT2Font
    except ImportError:
        raise UserError("the plot needs matplotlib; `pip install matplotlib`") from None
    # By name, so that a machine with several takes the same one every time; sans serif before others.
    paths = sorted(map(Path, font_manager.findSystemFonts()), key=lambda p: ("sans" not in p.name.lower(), str(p)))
    for path in paths:
        try:
            glyphs = FT2Font(str(path)).get_charmap()
        except RuntimeError:
            # Not every file that the system calls a font can be opened (bitmap formats).
            continue
        if all(ord(char) in glyphs for char in _PROBE):
            return path
    raise UserError(f"the plot needs a font with Chinese characters, and this system has none; {_REMEDY}")


def draw(data: dict[str, Any], path: Path, font: Path) -> None:
    """Draw F1 by label (protocol text, lenient reading) from a report's data into a PNG file."""
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    text = FontProperties(fname=str(font))
    scores = data["protocols"]["text"]["lenient"]
    names = {label: name if name == label else f"{name} {label}" for label, name in data["labels"]}
    rows = sorted(((names[label], scores["labels"][label]["f1"]) for label in names), key=lambda row: row[1])
    figure = Figure(figsize=(8, 1.6 + 0.38 * len(rows)), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(rows)), [f1 for _, f1 in rows], color="#2f6f9f", height=0.68)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontproperties=text, fontsize=11)
    for position, (_, f1) in enumerate(rows):
        axes.text(f1 + 0.008, position, f"{f1:.4f}", va="center", fontsize=9.5, bbox={"color": "white", "pad": 1})
    axes.axvline(scores["micro"]["f1"], color="#c0504d", linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1.09)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)
    run, interval = data["run"], (scores["intervals"] or {}).get("micro")
    spread = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
    title = f"{run['model']} · {run['corpus']}/{run['split']} · Micro F1 {scores['micro']['f1']:.4f}{spread}"
    axes.set_title(title, fontproperties=text, fontsize=12, loc="left")
    axes.set_xlabel("F1（按句去重的“标签 + 实体文本”，text 协议；虚线为 Micro F1）", fontproperties=text, fontsize=10)
    # Whole or not at all, as every file.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, format="png")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
