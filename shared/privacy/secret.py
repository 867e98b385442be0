"""The deployment's secret and what is derived from it: MACs and pseudonyms.

Losing the secret unlinks every pseudonym and makes earlier idempotency receipts unreadable;
`heed backup` therefore includes it.
"""

import hashlib
import os
import re
import secrets
import struct
from functools import lru_cache
from pathlib import Path
from typing import Literal

from shared.config import Settings
from shared.contracts.values import PersonKind
from shared.errors import ConfigError
from shared.folders import make_private

Kind = PersonKind | Literal["rater", "subject"]

MIN_SECRET_CHARS = 32
BLOCK_BYTES = 64  # of SHA-256
_LENGTH = struct.Struct(">Q").pack


def load_secret(settings: Settings) -> bytes:
    """The deployment's secret: `HEED_SECRET_KEY`, else `secret.key` in the data dir.

    The file is made on first use, readable by its owner only; processes that start at once agree
    on one file.

    Raises:
        ConfigError: the file cannot be written or read, or is too short.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = settings.data_dir / "secret.key"
    try:
        if not path.exists():
            _create_once(path, secrets.token_hex(32))
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Cannot use the secret key file {path} ({type(error).__name__}). "
            "Make it readable and writable, or set HEED_SECRET_KEY."
        ) from None
    if len(secret) < MIN_SECRET_CHARS:
        raise ConfigError(
            f"The secret key in {path} is shorter than {MIN_SECRET_CHARS} characters."
        )
    return secret.encode()


def _create_once(path: Path, content: str) -> None:
    """Write `path` whole or not at all; whoever comes second keeps the first one's file."""
    make_private(path.parent)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink()


def mac(secret: bytes, purpose: str, *parts: bytes | str) -> bytes:
    """HMAC-SHA256 over the purpose and the parts, 32 bytes.

    Every part is preceded by its length, so that ("ab", "c") and ("a", "bc") differ.
    """
    begun, outer = _begun(secret, purpose)
    inner = begun.copy()
    framed = b""
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        framed += _LENGTH(len(encoded)) + encoded
    inner.update(framed)
    outer = outer.copy()
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=64)
def _begun(secret: bytes, purpose: str) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """The inner and the outer hash of an HMAC that has read the purpose.

    Copying them costs half of what a new HMAC does. Source: RFC 2104, section 2.
    """
    key = hashlib.sha256(secret).digest() if len(secret) > BLOCK_BYTES else secret
    key = key.ljust(BLOCK_BYTES, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C))
    encoded = purpose.encode()
    inner.update(_LENGTH(len(encoded)) + encoded)
    return inner, outer


def fingerprint(secret: bytes) -> bytes:
    """What tells one secret from another without giving it away, 32 bytes."""
    return mac(secret, "fingerprint")


def pseudonym(secret: bytes, project_id: int, kind: Kind, identity: str | int) -> str:
    """A stable name for a person that only this deployment can link: `r_…` or `s_…`.

    The number 123 and the text "123" are one person, since clients send either.
    """
    keyed = mac(secret, f"pseudonym:{kind}", str(project_id), str(identity))
    return f"{kind[0]}_{keyed[:16].hex()}"


def person_of(secret: bytes, project_id: int, kind: Kind, identity: str) -> str:
    """The pseudonym meant by a client's own id of a person, or by the pseudonym itself."""
    if re.fullmatch(rf"{kind[0]}_[0-9a-f]{{32}}", identity):
        return identity
    return pseudonym(secret, project_id, kind, identity)
