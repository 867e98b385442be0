"""Responses in a report that outlive no prompt: each pair is sealed under the prompt it answers.

The key comes from the prompt's text and the deployment's secret. The dataset holds the prompt; when
an erasure takes it from there, nothing is left that opens the responses, and no file of a stored
model has to change.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.trainer.heads import Floats
from shared.errors import ArtifactError

Why = Literal["gained_most", "lost_most", "drawn"]

_OF_EACH = 4
_NONCE_BYTES, _REFERENCE_CHARS = 12, 24


def chosen_rows(gains: Floats | None, count: int, *, seed: int) -> list[tuple[int, Why]]:
    """Up to 12 of the n prompts: the largest gains of reward, the largest losses, and some drawn.

    Without rewards (None) all are drawn.
    """
    drawn = np.random.default_rng(seed).permutation(count).tolist()
    order = [] if gains is None else np.argsort(-gains, kind="stable").tolist()
    gained = [at for at in order[:_OF_EACH] if gains is not None and gains[at] > 0]
    lost = [at for at in order[: -_OF_EACH - 1 : -1] if gains is not None and gains[at] < 0]
    found: dict[int, Why] = {}
    wanted: tuple[tuple[Why, list[int]], ...] = (
        ("gained_most", gained), ("lost_most", lost), ("drawn", drawn),
    )  # fmt: skip
    for why, rows in wanted:
        for at in rows:
            if len(found) < 3 * _OF_EACH:
                found.setdefault(at, why)
    return list(found.items())


def reference(prompt: str, secret: bytes) -> str:
    """What recognises a prompt for who has the secret, and tells nobody what it says."""
    return _derived(b"reference", prompt, secret).hex()[:_REFERENCE_CHARS]


def seal(prompt: str, responses: Sequence[str], secret: bytes) -> str:
    """The responses to a prompt, unreadable without it."""
    nonce = os.urandom(_NONCE_BYTES)
    told = json.dumps(list(responses)).encode()
    sealed = AESGCM(_derived(b"key", prompt, secret)).encrypt(nonce, told, None)
    return base64.b64encode(nonce + sealed).decode()


def unseal(sealed: str, prompt: str, secret: bytes) -> list[str]:
    """The responses again.

    Raises:
        ArtifactError: it is no sealed text, or of another prompt or deployment.
    """
    try:
        raw = base64.b64decode(sealed, validate=True)
        key = AESGCM(_derived(b"key", prompt, secret))
        found: list[str] = json.loads(key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None))
    except (ValueError, InvalidTag):
        raise ArtifactError(
            "A sample of the policy's report cannot be opened; restore the artifact."
        ) from None
    return found


def _derived(purpose: bytes, prompt: str, secret: bytes) -> bytes:
    told = b"heed policy sample " + purpose + b"\0" + prompt.encode("utf-8", "surrogatepass")
    return hmac.new(secret, told, hashlib.sha256).digest()
