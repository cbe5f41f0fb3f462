"""Checks of what a caller sets; the command line and the library share them. Each raises a ValueError of one line."""

import re
from urllib.parse import urlsplit

from ner_common.errors import one_line

LONGEST = 1e7  # seconds, four months; event loops overflow at larger numbers
MOST = 10_000  # requests at once
KEY_REMEDY = "give the server's key with --api-key or in OPENAI_API_KEY"


def check_address(url: str) -> str:
    """A server's address without the slash at its end.

    Raises:
        ValueError: it is not ``http(s)://HOST[:PORT][/PATH]``, or holds a password, which would end up in manifests.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
        plain = url.isprintable() and not any(character.isspace() or character in "\\\"'<>" for character in url)
    except (ValueError, AttributeError, TypeError):
        host, plain = "", False
    if not plain or not host.strip(".") or parts.scheme not in ("http", "https"):
        secret = isinstance(url, str) and "@" in url
        shown = "the base URL" if secret else f"the base URL {one_line(url)}"
        raise ValueError(f"{shown} is not an address like http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the base URL must not hold a user name or password; {KEY_REMEDY}")
    if "?" in url or "#" in url:
        shown = one_line(re.split("[?#]", url)[0])  # a key may follow
        raise ValueError(f"the base URL {shown} must end after its path, without ? or #")
    return url.rstrip("/")


def check_key(key: str | None) -> None:
    """Raises:
    ValueError: an HTTP header cannot carry the key. The message does not show it.
    """
    if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable() and key.strip() == key):
        raise ValueError(
            "the API key is no text, or has a line break, a space at an end or a character that is not ASCII; check it"
        )


def check_seconds(name: str, value: float, *, zero: bool = False) -> None:
    """Raises:
    ValueError: not a number of seconds above 0 (or 0, with ``zero``) and up to `LONGEST`.
    """
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not 0 <= value <= LONGEST or not (value or zero):
        first = "from 0" if zero else "above 0"
        raise ValueError(f"{name} must be a number of seconds {first}, at most {LONGEST:,.0f}, not {one_line(value)}")


def check_concurrency(value: int) -> None:
    """Raises:
    ValueError: not a whole number from 1 to `MOST`.
    """
    if type(value) is not int or not 1 <= value <= MOST:
        raise ValueError(f"concurrency must be a whole number from 1 to {MOST:,}, not {one_line(value)}")
