"""What is between tokens that may be characters of a Chinese text, or Latin words in it."""

SPACES = "Latin words (joined with a space)"


def are_words(before: str, token: str) -> bool:
    """Whether two tokens are Latin words, with a space between them; two single characters are characters of one."""
    return len(before) + len(token) > 2 and _is_latin(before[-1:]) and _is_latin(token[:1])


def _is_latin(character: str) -> bool:
    return character.isalnum() and character < "\u0250"
