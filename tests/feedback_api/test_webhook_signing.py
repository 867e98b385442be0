"""Signatures as others check them, secrets as they are stored, waits as they grow."""

import re
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier

import shared
from services.feedback_api.webhooks.deliveries import MAX_ATTEMPTS, WAITS_S, wait_before_next
from services.feedback_api.webhooks.signing import (
    SigningSecrets,
    new_secret,
    signed_headers,
    unwrap,
    wrap,
)
from shared.db.tables import Job
from shared.errors import ConfigError
from shared.ids import new_id

DEPLOYMENT = b"a secret for the tests, long enough."
BODY = b'{"type":"webhook.test"}'
DOCS = Path(shared.__file__).parents[1] / "docs/webhooks.md"


def test_a_signature_is_what_another_implementation_makes():
    secret, moment = new_secret(), time.time()

    headers = signed_headers(SigningSecrets(secret), "msg_1", BODY, moment)

    assert Verifier(secret).verify(BODY, headers) == {"type": "webhook.test"}


def test_a_secret_of_before_signs_until_its_overlap_ends():
    old = SigningSecrets(new_secret())
    new = old.rotated(60)

    assert new.valid_at(time.time()) == [new.current, old.current]
    assert new.valid_at(time.time() + 61) == [new.current]


def test_what_was_wrapped_unwraps():
    webhook_id, signing = new_id(), SigningSecrets(new_secret()).rotated(60)

    assert unwrap(DEPLOYMENT, webhook_id, wrap(DEPLOYMENT, webhook_id, signing)) == signing


def test_a_secret_does_not_open_under_another_deployment_secret_or_for_another_webhook():
    webhook_id = new_id()
    wrapped = wrap(DEPLOYMENT, webhook_id, SigningSecrets(new_secret()))

    for deployment, other in ((b"another", webhook_id), (DEPLOYMENT, new_id())):
        with pytest.raises(ConfigError, match="HEED_SECRET_KEY"):
            unwrap(deployment, other, wrapped)


def test_the_receiver_of_the_docs_takes_ours_and_nothing_else():
    example = re.search(r"```python\n(.*?)\nclass Receiver", DOCS.read_text(), re.DOTALL)[1]
    known: dict[str, object] = {}
    exec(example, known)  # it is our own page
    known["SECRET"] = secret = new_secret()
    rotated = SigningSecrets(new_secret(), secret, time.time() + 60)
    headers = signed_headers(rotated, "msg_1", BODY, time.time())
    late = signed_headers(rotated, "msg_1", BODY, time.time() - 600)

    assert known["verified"](headers, BODY) == {"type": "webhook.test"}
    with pytest.raises(ValueError, match="wrong signature"):
        known["verified"](headers, BODY + b" ")
    with pytest.raises(ValueError, match="too old"):
        known["verified"](late, BODY)


@pytest.mark.parametrize("replayed_after", [0, 4])
def test_waits_grow_from_the_first_attempt_and_again_after_a_replay(replayed_after):
    most = replayed_after + MAX_ATTEMPTS
    attempts = range(replayed_after + 1, most + 1)

    waits = [wait_before_next(Job(attempt=n, max_attempts=most)) for n in attempts]

    assert waits == [*WAITS_S, None]
