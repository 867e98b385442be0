"""Where the services are and with which key: from the caller, else from the environment."""

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from heed_client.errors import HeedMisuse

FEEDBACK_URL = ("HEED_URL", "http://127.0.0.1:8000")
REWARD_URL = ("HEED_REWARD_URL", "http://127.0.0.1:8001")
API_KEY = "HEED_API_KEY"


class Service(NamedTuple):
    """An address and the key for it; the key is in no representation of this."""

    url: str
    api_key: SecretStr


def find_service(url: str | None, api_key: str | None, default: tuple[str, str]) -> Service:
    """The service that is meant.

    Raises:
        HeedMisuse: no key is given and `HEED_API_KEY` is not set, or the URL is none.
    """
    variable, local = default
    environment = os.environ  # noqa: TID251 - a library has no settings object to be handed
    url = (url or environment.get(variable) or local).rstrip("/")
    key = (api_key or environment.get(API_KEY) or "").strip()
    if not key:
        raise HeedMisuse(f"Give an api_key, or set {API_KEY}.")
    if not key.isascii() or not key.isprintable():
        raise HeedMisuse("The API key holds characters that no key has.")
    if not _is_url(url):
        raise HeedMisuse("The URL must be like https://feedback.example.org, without a password.")
    return Service(url, SecretStr(key))


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port or 1
    except ValueError:  # brackets that do not match, or no port there is
        return False
    is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and port > 0
    return is_whole and not parts.username and not any(map(str.isspace, url))
