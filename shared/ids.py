"""Time-ordered ids, made here because `uuidv7()` is core in Postgres only from 18 on."""

import secrets
import time
import uuid


def new_id() -> uuid.UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, 74 random bits (RFC 9562, section 5.7)."""
    millis = time.time_ns() // 1_000_000
    value = (millis & (2**48 - 1)) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return uuid.UUID(int=value | 0b10 << 62 | secrets.randbits(62))


def public_id(prefix: str) -> str:
    """A readable id for rows whose client sent none, such as `fb_0192…` for feedback."""
    return f"{prefix}_{new_id().hex}"
