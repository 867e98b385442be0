"""A receipt that was changed, or signed by somebody else, is not genuine."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.privacy.signing import is_genuine, public_key, sign

SECRET, OTHER = b"one secret of a deployment, so long", b"another secret, which is as long as"
RECEIPT = {
    "erasure_id": "e1",
    "rows": {"rlhf_feedback": 2, "rlhf_receipts": 1},
    "datasets": [{"id": 7, "sha256_after": "ab"}],
    "deadline": None,
}


def test_a_signed_receipt_is_genuine_however_it_is_laid_out():
    signed = sign(SECRET, RECEIPT)

    pretty = json.loads(json.dumps(dict(reversed(signed.items())), indent=4))

    assert is_genuine(pretty, public_key(SECRET))


@pytest.mark.parametrize(
    "change",
    [
        {"erasure_id": "e2"},
        {"rows": {"rlhf_feedback": 3, "rlhf_receipts": 1}},
        {"datasets": []},
        {"more": True},
        {"signature": None},
        {"signature": {"value": "AAAA"}},
        {"signature": {"value": "no base64"}},
    ],
)
def test_a_changed_receipt_is_not(change):
    assert not is_genuine(sign(SECRET, RECEIPT) | change, public_key(SECRET))


def test_a_receipt_of_another_deployment_is_not():
    assert not is_genuine(sign(OTHER, RECEIPT), public_key(SECRET))


@pytest.mark.parametrize("key", ["", "AAAA", "no base64"])
def test_a_key_that_is_none_checks_nothing(key):
    assert not is_genuine(sign(SECRET, RECEIPT), key)


def test_the_public_key_is_one_of_ed25519_and_says_nothing_of_the_secret():
    import base64

    raw = base64.b64decode(public_key(SECRET))

    assert Ed25519PublicKey.from_public_bytes(raw).public_bytes_raw() == raw
    assert len(raw) == 32
    assert raw not in SECRET
