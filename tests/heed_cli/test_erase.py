"""`heed erase`, from a person's request to a receipt that anybody can check.

What the person wrote, and what was written about them, is looked for wherever it must not be any
more: the whole database as `pg_dump` sees it, its tables on disk once they were vacuumed, and
every other file below the data dir, logs included. Only Postgres's write-ahead log is left out.
"""

import json
import secrets

import httpx
import pytest

from shared.db import embedded

ABOUT = {"subject_ids": ["patient-canary"]}
POLITE, RUDE = "Gladly: here is what you need. ", "Nobody cares, go away. "


class Canaries:
    """Strings that occur nowhere else, one for each place a person's words may come to."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {
            "rater": "clinician-canary",
            "subject": "patient-canary",
        }

    def __call__(self, place: str) -> str:
        return self.all.setdefault(place, f"canary{secrets.token_hex(8)}")

    def found_in(self, content: bytes) -> list[str]:
        return [place for place, text in self.all.items() if text.encode() in content]


@pytest.fixture(scope="module")
def service(running):
    """A client of the running feedback API."""
    state = json.loads(running("status", "--json").stdout)
    url = next(one["url"] for one in state if one["name"] == "feedback_api")
    token = (running.data_dir / "dev.key").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def post(service, path, **body):
    reply = service.post(path, json=body)
    assert reply.is_success, reply.text


def post_enough_to_train_on(service):
    for number in range(60):
        texts = {"response_a": f"{POLITE}{number}", "response_b": f"{RUDE}{number}"}
        more = {"prompt": f"What about case {number}?", "preferred": "a", "rater_id": "other"}
        post(service, "/preference", **texts, **more)


def post_canaries(service, canary):
    rater = {"rater_id": "clinician-canary"}
    same = {"prompt": canary("prompt"), "session_id": canary("session"), "agent_name": "a"}
    first = {"response": canary("response"), "feedback_id": canary("feedback id")}
    said = {
        "comment": canary("first comment"),
        "correction": {"corrected_response": canary("correction")},
        "annotations": [{"start": 0, "end": 3, "label": "l", "comment": canary("annotation")}],
        "context": {"ward": canary("context")},
    }
    post(service, "/feedback", **rater, **same, **first, rating=1, **said)
    post(service, "/feedback", **rater, **same, **first, rating=2, comment=canary("comment"))
    post(service, "/feedback", **rater, **same, response=canary("other"), thumbs="up")
    asked = {"kind": "rater", "person_id": "clinician-canary"}
    post(service, "/consents", **asked, consent={"training": True})
    assert service.get("/consents", params=asked).is_success
    refused = {"rating": 99, "comment": canary("refused")} | rater
    assert service.post("/feedback", json=refused).status_code == 422
    pair = {"response_a": f"{POLITE} {canary('a')}", "response_b": f"{RUDE} {canary('b')}"}
    for reason in ("first reason", "reason"):
        told = {"comment": canary(f"{reason} in words"), "reasons": [canary(reason)]}
        post(service, "/preference", **rater, **pair, **told, prompt=canary("q"), preferred="a")
    exchange = {"prompt": canary("asked"), "response": canary("answered")} | ABOUT
    post(service, "/interactions", interaction_id=canary("interaction"), **exchange)
    steps = f"/interactions/{canary('interaction')}/steps"
    post(service, steps, step_order=1, step_content=canary("step"))
    about = {"interaction_id": canary("interaction"), "rater_id": "other"}
    post(service, "/feedback", **about, rating=2, comment=canary("about the subject"))


def traces(heed, canary) -> dict[str, list[str]]:
    """Where canaries are, by file; `pg_dump` is what the whole database holds."""
    running = embedded.attach(heed.data_dir)
    dumped = embedded.run_binary("pg_dump", ["-d", running.url()], major=running.major)
    places = {"pg_dump": canary.found_in(dumped)}
    for path in heed.home.rglob("*"):
        if path.is_file() and "pg_wal" not in path.parts and "receipts" not in path.parts:
            places[str(path.relative_to(heed.home))] = canary.found_in(path.read_bytes())
    return {place: found for place, found in places.items() if found}


def vacuum(heed) -> None:
    """Rewrite every table, and let the old files go."""
    running = embedded.attach(heed.data_dir)
    where = ["-h", running.socket_dir, "-p", running.port, "-U", "postgres"]
    statements = ["-c", "VACUUM FULL", "-c", "CHECKPOINT"]
    psql = ["-X", *map(str, where), "-d", "heed", *statements]
    embedded.run_binary("psql", psql, major=running.major)


@pytest.mark.slow
def test_nothing_of_an_erased_person_is_left_where_that_is_promised(running, service):
    canary = Canaries()
    post_enough_to_train_on(service)
    post_canaries(service, canary)
    running.done("dataset", "prepare")
    running.done("train", "embedding", HEED_GATE="manual")
    running.done("models", "promote", "1", "--reason", "for the test")
    running.done("export", "trl-preference")
    before = traces(running, canary)
    receipts = running.home / "receipts"
    receipts.mkdir()

    for kind in ("rater", "subject"):
        to = ("--receipt", receipts / f"{kind}.json")
        running.done("erase", canary(kind), "--kind", kind, "--yes", *to)
    vacuum(running)

    assert "reward version 1 (champion) learned from erased rows" in running("status").stdout
    assert "tainted" in running.done("models", "list")
    assert "clean" in running.done("lineage", "dataset:1")
    assert set(before["pg_dump"]) == canary.all.keys() - {"rater", "subject", "refused"}
    assert any("datasets" in place for place in before)
    assert any("exports" in place for place in before)
    assert traces(running, canary) == {}


@pytest.mark.slow
def test_the_receipt_is_genuine_here_and_with_the_public_key_and_not_once_it_was_changed(
    running, other, service, tmp_path
):
    post(service, "/feedback", prompt="p", response="r", rating=3, rater_id=31)
    path = tmp_path / "receipt.json"
    running.done("erase", "31", "--kind", "rater", "--yes", "--receipt", path)
    key = service.get("/erasures/key").json()["public_key"]
    receipt = json.loads(path.read_text())
    of_the_api = service.get(f"/erasures/{receipt['erasure_id']}").json()
    (tmp_path / "reply.json").write_text(json.dumps(of_the_api))
    (tmp_path / "changed.json").write_text(json.dumps(receipt | {"rows": {}}))

    assert of_the_api["receipt"] == receipt
    assert receipt["erasure_id"] in running.done("erase", "list")
    for name in ("receipt.json", "reply.json"):
        assert "genuine" in running.done("erase", "verify", tmp_path / name)
        assert "genuine" in other.done("erase", "verify", tmp_path / name, "--key", key)
    assert "not genuine" in running.refused("erase", "verify", tmp_path / "changed.json")
    assert "--key" in other.refused("erase", "verify", path)
    assert not other.data_dir.exists()


@pytest.mark.slow
def test_nobody_is_erased_without_being_asked_and_nobody_unknown(running, service):
    post(service, "/feedback", prompt="p", response="r", rating=3, rater_id=32)

    ended = running("erase", "32", "--kind", "rater")

    assert ended.returncode == 1
    assert "Erase 1 rows of rater r_" in ended.stdout
    assert len(service.get("/feedback?limit=100").json()["items"]) >= 1
    assert "Nothing is held of this subject" in running.refused(
        "erase", "32", "--kind", "subject", "--yes"
    )
