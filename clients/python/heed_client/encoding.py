"""What callers give, as JSON."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from heed_client.errors import HeedMisuse


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8; times as ISO 8601, this library's models as objects."""
    try:
        text = json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), default=_plain, allow_nan=False
        )
        return text.encode()
    except UnicodeEncodeError:
        raise HeedMisuse("A text holds half of a surrogate pair; send valid Unicode.") from None
    except HeedMisuse:
        raise
    except TypeError:
        raise HeedMisuse("The names in a mapping must be texts or numbers.") from None
    except (ValueError, RecursionError) as error:
        raise HeedMisuse("A value is no JSON: NaN, infinite, or inside itself.") from error


def path_part(identity: str) -> str:
    """An id as one part of a path, also one that is all dots, which paths would resolve."""
    part = quote(identity, safe="")
    return part if part.strip(".") else part.replace(".", "%2E")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise HeedMisuse(f"A {type(value).__name__} cannot be sent as JSON.")
