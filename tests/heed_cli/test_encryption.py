"""`heed encryption`, as an operator goes through it."""

import re

from sqlalchemy import select
from sqlmodel import col

from heed_cli.database import in_transaction
from shared.db import embedded
from shared.db.tables import AuditEntry, Feedback

POST = {
    "feedback_id": "fb_1",
    "target": "t",
    "clinician_id": "r_ada",
    "user_query": "zanzibar",
    "consent_training": True,
}


def url_of(heed) -> str:
    return embedded.start(heed.data_dir).url()


def prompt_of(heed) -> str:
    return in_transaction(url_of(heed), lambda s: s.scalar(select(col(Feedback.user_query))))


def id_of(key: str) -> str:
    return key.partition(":")[0]


def test_from_a_new_key_to_sealed_rows_to_a_rotation_and_back(heed, other):
    heed.done("migrate")

    async def insert(session):
        session.add(Feedback(**POST))

    in_transaction(url_of(heed), insert)
    first, second = heed.done("encryption", "new-key"), heed.done("encryption", "new-key")
    first, second = first.strip(), second.strip()
    with_first = {"HEED_ENCRYPTION": "on", "HEED_ENCRYPTION_KEYS": first}
    with_both = {"HEED_ENCRYPTION": "on", "HEED_ENCRYPTION_KEYS": f"{second},{first}"}
    with_second = {"HEED_ENCRYPTION": "off", "HEED_ENCRYPTION_KEYS": second}

    assert "1 rows encrypted" in heed.done("encryption", "seal", **with_first)
    assert prompt_of(heed).startswith("heed:1:")
    missing = heed("doctor")
    assert missing.returncode == 1
    assert id_of(first) in missing.stdout
    assert "Ready." in heed.done("doctor", **with_first)

    assert "1 data keys" in heed.done("encryption", "rotate", **with_both)
    shown = heed.done("encryption", "status", **with_both)
    assert re.search(rf"{id_of(second)} +1 +active", shown)
    assert re.search(rf"{id_of(first)} +0 +not needed", shown)
    assert re.search(r"rlhf_feedback +1 +1 +0 *\n", shown)

    refused = heed.refused("encryption", "status", HEED_ENCRYPTION_KEYS="k1:c2VjcmV0")
    assert "k1" in refused
    assert "c2VjcmV0" not in refused

    heed.done("backup", heed.home / "backup.tar")
    assert id_of(second) in other.done("restore", heed.home / "backup.tar")

    assert "1 rows decrypted" in heed.done("encryption", "unseal", **with_second)
    assert prompt_of(heed) == "zanzibar"
    actions = in_transaction(
        url_of(heed), lambda s: s.scalars(select(col(AuditEntry.action)).order_by("created_at"))
    )
    wanted = ["encryption.seal", "encryption.rotate", "encryption.unseal"]
    assert [action for action in actions if action in wanted] == wanted
