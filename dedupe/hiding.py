"""Secrets in URLs: neither shown nor written.

`https://user:password@host/a.parquet?sig=abc` is `https://REDACTED@host/a.parquet?sig=REDACTED` in
every message, in `summary.json` and in keep-lists. Where it is read, `remote.given` knows the URL.
What is hidden includes what changes whenever a URL is signed, so that one signed again is the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

MARK = "REDACTED"
"""Stands for a secret; the second URL that would look the same has REDACTED2, and so on."""

SHORTEST = 6
"""Characters from which a secret is looked for in the messages of others."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]+")
_LOGIN = re.compile(r"(https?://)([^/?#]+)@|([A-Za-z][A-Za-z0-9+.\-]*://)([^/?#@]*:[^/?#]*)@")
_NAMES = (
    r"x-(?:amz|goog|ms)-[^=&#]*|sig|signature|[\w\-]*token|[\w\-]*key|key-pair-id|[\w\-]*secret"
    r"|pass|passwd|password|pwd|auth|authorization|credentials?|code|jwt|policy|expires"
    r"|awsaccesskeyid|googleaccessid"
)
_OF_AZURE = r"|s[ktvpre]|sk[a-z]{1,3}|sip|spr"
_HIDDEN = re.compile(r"://REDACTED\d*@|=REDACTED\d*(?:[&#]|$)")
_QUERYLESS = ("s3://", "gs://", "hf://")
"""Stores where a ? is a part of a name, or of a pattern."""


def hidden(url: str, mark: str = MARK) -> str:
    """A URL without its secrets; mark: what stands for each."""
    if not _URL.match(url):
        return url
    url = _LOGIN.sub(lambda found: f"{found[1] or found[3]}{mark}@", url)
    path, has_query, query = url.partition("?")
    if not has_query or url.startswith(_QUERYLESS):
        return url
    return f"{path}?" + _secrets(query).sub(rf"\g<1>{mark}", query)


def _secrets(query: str) -> re.Pattern[str]:
    """What of a query is secret: the name, and its value."""
    more = _OF_AZURE if re.search(r"(?:^|&)sig=", query, re.IGNORECASE) else ""
    return re.compile(rf"((?:^|&)(?:{_NAMES}{more})=)([^&#]+)", re.IGNORECASE)


def without_secrets_of(url: str, text: str) -> str:
    """A message about a URL, in which there are neither its secrets nor those of other URLs."""
    login, query = _LOGIN.search(url), url.partition("?")[2]
    values = [] if url.startswith(_QUERYLESS) else [m[2] for m in _secrets(query).finditer(query)]
    if login:
        values.append(login[2] or login[4])
    for value in values:
        if len(value) >= SHORTEST:
            text = text.replace(value, MARK).replace(unquote(value), MARK)
    return without_secrets(text)


def without_secrets(text: str) -> str:
    """A message in which no URL has secrets."""
    return _URL.sub(lambda found: hidden(found[0]), text)


def lacks_secrets(url: str) -> bool:
    """Whether a URL has marks where it had secrets."""
    return _HIDDEN.search(url) is not None


def told_apart(urls: Sequence[str]) -> dict[str, str]:
    """Each URL by what is shown of it: those that differ only in secrets by other marks."""
    found: dict[str, str] = {}
    for url in dict.fromkeys(urls):
        shown, number = hidden(url), 1
        while shown in found:
            number += 1
            shown = hidden(url, f"{MARK}{number}")
        found[shown] = url
    return found
