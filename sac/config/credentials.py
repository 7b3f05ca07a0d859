"""URLs as they may be shown: without the passwords and keys in them."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"
SHORT = 4  # characters: a shorter secret is hidden only where it stands alone, else half of any text would be
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"]+")
_HOST = re.compile(r"(\[[^]]*\]|[^:/?\[]*)(:\d*)?([/?]|$)")


def hidden(url: str) -> str:
    """A URL without its user and password, and without the values behind `?`; what has no host can be a path."""
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
    """`text` with every URL in it `hidden`, and so the secrets of `url` wherever they stand alone."""
    if url:
        text = text.replace(url, hidden(url))
    text = _URL.sub(lambda found: hidden(found[0]), text)
    for secret in sorted(_secrets(url), key=len, reverse=True):
        alone = (r"(?<!\w)", r"(?!\w)") if len(secret) < SHORT else ("", "")
        text = re.sub(alone[0] + re.escape(secret) + alone[1], HIDDEN, text)
    return text


def _parts(url: str) -> tuple[str, str, str]:
    return url.partition("://") if "://" in url else ("", "", url)


def _secrets(url: str) -> set[str]:
    """Password and values behind `?`, as they stand in the URL and as they are meant."""
    _, separator, rest = _parts(url)
    found = [pair.partition("=")[2] for pair in re.split("[&;]", rest.partition("?")[2])]
    if not rest.startswith("/"):
        user, _, host = rest.rpartition("@")
        found.append(user.partition(":")[2])
        if separator and not _HOST.match(host):  # a password that nobody has quoted may stand anywhere
            found += re.split("[:/@?&=]", rest)
    return {meant for one in found for meant in (one, unquote(one), unquote_plus(one)) if meant}
