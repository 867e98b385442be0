"""Secrets of webhooks and signatures made with them, as Standard Webhooks wants them.

A stored secret is sealed with a key derived from the deployment's secret and bound to its webhook,
so a copy of the table signs nothing and a row moved to another webhook does not open.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic_core import from_json, to_json

from shared.errors import ConfigError
from shared.privacy import mac

PREFIX = "whsec_"
_SECRET_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class SigningSecrets:
    """The secret of a webhook, and the one before it for as long as both sign."""

    current: str
    previous: str | None = None
    previous_until: float = 0.0

    def rotated(self, overlap_s: float) -> "SigningSecrets":
        """A new secret; the one of now signs too for so many seconds."""
        until = datetime.now(UTC).timestamp() + overlap_s
        return SigningSecrets(new_secret(), self.current, until)

    def valid_at(self, moment: float) -> list[str]:
        """The secrets that sign at a Unix time, the newest first."""
        if self.previous is not None and moment < self.previous_until:
            return [self.current, self.previous]
        return [self.current]


def new_secret() -> str:
    """256 random bits as `whsec_<base64>`."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def wrap(deployment_secret: bytes, webhook_id: UUID, signing: SigningSecrets) -> bytes:
    """The secrets as they may be stored: a nonce and AES-256-GCM under a derived key."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = to_json(signing)
    return nonce + _cipher(deployment_secret).encrypt(nonce, plain, webhook_id.bytes)


def unwrap(deployment_secret: bytes, webhook_id: UUID, wrapped: bytes) -> SigningSecrets:
    """The secrets behind a stored value.

    Raises:
        ConfigError: it was wrapped under another deployment secret, or for another webhook.
    """
    nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
    try:
        plain = _cipher(deployment_secret).decrypt(nonce, sealed, webhook_id.bytes)
    except InvalidTag:
        raise ConfigError(
            f"The secret of webhook {webhook_id} does not open with this deployment's secret key: "
            "set the HEED_SECRET_KEY it was made under, or remove the webhook and add it again."
        ) from None
    return SigningSecrets(**from_json(plain))


def signed_headers(
    signing: SigningSecrets, message_id: str, body: bytes, moment: float
) -> dict[str, str]:
    """The headers of one attempt at a Unix time; one `v1,…` for every secret that is valid."""
    timestamp = str(int(moment))
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(
            f"v1,{_signature(secret, signed)}" for secret in signing.valid_at(moment)
        ),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _cipher(deployment_secret: bytes) -> AESGCM:
    return AESGCM(mac(deployment_secret, "webhook secrets"))
