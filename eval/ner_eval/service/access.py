"""Who may ask, and how often."""

import os
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_eval.inference.checks import check_key

VARIABLE = "NER_API_KEYS"
MOST_CLIENTS = 10_000  # whose rates are remembered: those who were accepted last


def read_keys(path: Path | None) -> tuple[str, ...]:
    """The keys in a file, one per line (``#`` begins a comment), or those in `VARIABLE`, separated by commas.

    Raises:
        UserError: the file cannot be read or holds no key, or a header cannot carry one of them.
    """
    if path:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise UserError(f"{rooted(path)}: {reason}; name a text file with one key per line") from None
        given, source = [line for line in lines if not line.lstrip().startswith("#")], rooted(path)
    else:
        given, source = os.environ.get(VARIABLE, "").split(","), VARIABLE
    keys = tuple(key.strip() for key in given if key.strip())
    if path and not keys:
        raise UserError(f"{source}: holds no key; write one per line")
    for number, key in enumerate(keys, start=1):
        try:
            check_key(key)
        except ValueError as error:
            raise UserError(f"{source}: key {number}: {error}") from None
    return keys


class Keys:
    """The keys that are accepted; none: everybody is."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def __len__(self) -> int:
        return len(self._digests)

    def number(self, header: str) -> int | None:
        """Which key, counted from 1, an Authorization header holds: ``Bearer KEY``, or ``Basic`` with it as password.

        The time that this takes says nothing about the keys: digests are compared, and always all of them.
        """
        scheme, _, key = header.partition(" ")
        if scheme.lower() == "basic":  # Label Studio knows no other
            try:
                key = b64decode(key, validate=True).decode().partition(":")[2]
            except ValueError:
                return None
        given = sha256(key.strip().encode("utf-8", "replace")).digest()
        same = [compare_digest(given, digest) for digest in self._digests]
        return same.index(True) + 1 if scheme.lower() in ("bearer", "basic") and any(same) else None


@dataclass(slots=True)
class RateLimit:
    """How many texts each client may send: token buckets of ``burst`` texts that fill at ``rate`` texts per second.

    A request is accepted while its client's bucket is not empty, and may overdraw it: batches that are larger than the
    bucket pass, and are paid for afterwards. ``rate`` 0: no limit.
    """

    rate: float
    burst: float
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # client -> texts, and when

    def wait(self, client: str, texts: int) -> float:
        """0 if the request is accepted, else the seconds to wait."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        left = self._now(client, now)
        if left <= 0:
            return (1 - left) / self.rate
        self._left.pop(client, None)  # whoever was accepted last is at the end
        self._left[client] = left - texts, now
        if len(self._left) > MOST_CLIENTS:
            del self._left[next(iter(self._left))]
        return 0.0

    def _now(self, client: str, now: float) -> float:
        left, at = self._left.get(client, (self.burst, now))
        return min(self.burst, left + (now - at) * self.rate)
