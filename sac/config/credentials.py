"""Hides the passwords and keys in URLs before they are shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"
SHORT_SECRET_CHARACTERS = 4  # a shorter secret is hidden only as a whole word: it may be part of many other words
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"]+")
_HOST = re.compile(r"(\[[^]]*\]|[^:/?\[]*)(:\d*)?([/?]|$)")


def hidden(url: str) -> str:
    """A URL without its user and password, and without the values after `?`. A URL without a host keeps its path."""
    scheme, separator, rest = _parts(url)
    if not rest.startswith("/"):
        _, at, host = rest.rpartition("@")
        if separator and not _HOST.match(host):
            return f"{scheme}://{HIDDEN}"
        rest = f"{HIDDEN}@{host}" if at else host
    head, mark, query = rest.partition("?")
    values = re.sub(r"=[^&;]*", f"={HIDDEN}", query) if "=" in query else HIDDEN * bool(query)
    return f"{scheme}{separator}{head}{mark}{values}"


def without_credentials(text: str, url: str = "") -> str:
    """`text` in which the secrets of every URL are hidden, and those of `url` also outside of URLs."""
    if url:
        text = text.replace(url, hidden(url))
    text = _URL.sub(lambda found: hidden(found[0]), text)
    for secret in sorted(_secrets(url), key=len, reverse=True):
        alone = (r"(?<!\w)", r"(?!\w)") if len(secret) < SHORT_SECRET_CHARACTERS else ("", "")
        text = re.sub(alone[0] + re.escape(secret) + alone[1], HIDDEN, text)
    return text


def _parts(url: str) -> tuple[str, str, str]:
    return url.partition("://") if "://" in url else ("", "", url)


def _secrets(url: str) -> set[str]:
    """The password and the values after `?`, as they are in the URL and with percent signs decoded."""
    _, separator, rest = _parts(url)
    found = [pair.partition("=")[2] for pair in re.split("[&;]", rest.partition("?")[2])]
    if not rest.startswith("/"):
        user, _, host = rest.rpartition("@")
        found.append(user.partition(":")[2])
        if separator and not _HOST.match(host):  # a password with unquoted letters may be anywhere
            found += re.split("[:/@?&=]", rest)
    return {meant for one in found for meant in (one, unquote(one), unquote_plus(one)) if meant}
