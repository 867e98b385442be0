"""Origins of pages, written as browsers send them, so that two spellings of one are one."""

import re
from urllib.parse import urlsplit

ORIGIN = re.compile(r"https?://[a-z0-9._:\[\]-]+", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_origin(url: str) -> str | None:
    """Scheme and host in small letters, no default port; None if it is not `http(s)://host[:port]`.

    One slash at the end is allowed, as it is copied from an address bar.
    """
    url = url.removesuffix("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not ORIGIN.fullmatch(url) or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = port in (None, DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")
