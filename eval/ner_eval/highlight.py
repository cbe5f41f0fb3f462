"""A text in a terminal with its entities marked."""

from collections.abc import Sequence

from ner_data.gold import Entity

# Foreground and background that can be read on dark and light terminals alike.
_COLOURS = ["30;46", "30;43", "30;42", "30;45", "97;44", "97;41", "30;106", "30;103", "30;102", "30;105"]


def highlight(text: str, entities: Sequence[Entity], labels: Sequence[str], colour: bool) -> str:
    """Mark every entity behind which no other has begun yet; those that overlap one are listed behind the text.

    With ``colour``: ANSI colours, one a label; without: ``[林晓 name]``. Control characters of the text are shown as
    their pictures (␛), so that no text can command the terminal.
    """
    parts, rest = [], []
    at = 0
    for entity in sorted(entities, key=lambda e: (e.start, -e.end)):
        if entity.start < at:
            rest.append(entity)
            continue
        parts += [_harmless(text[at : entity.start]), _mark(entity, labels, colour)]
        at = entity.end
    parts.append(_harmless(text[at:]))
    if rest:
        parts.append("  + " + " ".join(_mark(entity, labels, colour) for entity in rest))
    return "".join(parts)


def _mark(entity: Entity, labels: Sequence[str], colour: bool) -> str:
    surface, label = _harmless(entity.text), _harmless(entity.label)
    if not colour:
        return f"[{surface} {label}]"
    code = _COLOURS[labels.index(entity.label) % len(_COLOURS)] if entity.label in labels else "7"
    return f"\x1b[{code}m{surface}\x1b[0m\x1b[2m{label}\x1b[0m"


def _harmless(text: str) -> str:
    pictures = {code: 0x2400 + code for code in range(0x20) if code != 0x0A} | {0x7F: 0x2421}
    return text.translate(pictures | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)).encode("utf-8", "replace").decode()
