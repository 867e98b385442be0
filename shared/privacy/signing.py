"""Signs receipts of erasures, so that anybody who has the public key can check one later."""

import base64
import binascii
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic_core import to_json

from shared.privacy.secret import mac

ALGORITHM = "Ed25519"
Receipt = dict[str, Any]


def public_key(secret: bytes) -> str:
    """The key that checks this deployment's receipts: 32 bytes in base64."""
    raw = _private_key(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def sign(secret: bytes, receipt: Receipt) -> Receipt:
    """The receipt with its signature in `signature`, over everything else in it."""
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    signature = _private_key(secret).sign(_signed_bytes(unsigned))
    return unsigned | {
        "signature": {
            "algorithm": ALGORITHM,
            "public_key": public_key(secret),
            "value": base64.b64encode(signature).decode(),
        }
    }


def is_genuine(receipt: Receipt, key: str) -> bool:
    """Whether whoever holds the private part of `key` signed exactly this receipt."""
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        value = base64.b64decode(receipt["signature"]["value"], validate=True)
        checker = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        checker.verify(value, _signed_bytes(unsigned))
    except (InvalidSignature, KeyError, TypeError, ValueError, binascii.Error):
        return False
    return True


def _private_key(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(mac(secret, "erasure receipts"))


def _signed_bytes(unsigned: Receipt) -> bytes:
    """One text for one content, however it was laid out: sorted keys, no spaces, UTF-8."""
    return b"heed erasure receipt v1\0" + to_json(_sorted(unsigned))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
