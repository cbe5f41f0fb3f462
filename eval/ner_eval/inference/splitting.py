"""Split long documents, with offsets, into pieces short enough for a model trained on sentences."""

import re

# A sentence ends at a line break, or at a full stop, question or exclamation mark or semicolon with the closing quotes
# and brackets after it. An ASCII full stop ends one only before white space, not in 3.5 or example.com.
_END = re.compile(r"""(?:[。！？!?；;…]|\.(?=\s))+[”’」』）)\]】》"']*|\n""")
_PAUSE = re.compile(r"[，、,：:\s]")


def segments(text: str, longest: int) -> list[tuple[int, int]]:
    """Cut a text at sentence ends into pieces of at most ``longest`` characters.

    A text that fits is one piece. Sentences are packed into a piece while they fit; a longer sentence is cut at its
    last pause that fits, or after ``longest`` characters.

    Returns:
        Half-open (start, end) of the pieces in characters, in order and without overlap. No piece starts or ends with
        white space; together they hold every other character of the text.
    """
    if len(text) <= longest:
        return _stripped(text, 0, len(text))
    ends = [match.end() for match in _END.finditer(text)] + [len(text)]
    pieces: list[tuple[int, int]] = []
    start = fits = 0
    for end in ends:
        while end - start > longest:
            if fits <= start:
                fits = _pause(text, start, start + longest)
            pieces += _stripped(text, start, fits)
            start = fits
        fits = end
    return pieces + _stripped(text, start, len(text))


def _pause(text: str, start: int, end: int) -> int:
    """Where to cut a sentence that does not fit: after its last comma, pause mark or space before ``end``."""
    last = None
    for match in _PAUSE.finditer(text, start, end):
        last = match.end()
    return last if last is not None and last > start else end


def _stripped(text: str, start: int, end: int) -> list[tuple[int, int]]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    length = len(piece.strip())
    return [(start + left, start + left + length)] if length else []
