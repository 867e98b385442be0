"""The copies of what lies in a bucket: fetched once, by one process, and kept below a size."""

import os
import subprocess
import sys
import time

import pytest

from shared.artifacts import folder_sha256
from shared.errors import ArtifactError
from tests.support.s3 import Dying, with_bucket

LARGE = 20_000_000  # bytes; more than one request brings


def test_what_is_here_is_found_while_the_bucket_is_away(store, s3, model):
    uri, _ = store.put_folder(model)
    away = with_bucket(store, s3.bucket(endpoint="http://127.0.0.1:9"))

    assert away.path(uri) == store.path(uri)


def test_a_killed_download_goes_on_where_it_was(s3, store, elsewhere, tmp_path):
    content = os.urandom(LARGE)
    (tmp_path / "large").write_bytes(content)
    uri = store.put_file(tmp_path / "large", "models")
    with pytest.raises(KeyboardInterrupt):
        with_bucket(elsewhere, Dying(s3.address, ranges=2)).path(uri)

    again = Dying(s3.address)
    found = with_bucket(elsewhere, again).path(uri)

    assert found.read_bytes() == content
    assert again.sent == [f"{found.name} from 16777216"]
    assert not any((elsewhere.root / ".fetching").iterdir())


def test_a_damaged_part_of_a_download_is_fetched_anew(s3, store, elsewhere, model):
    uri, sha256 = store.put_folder(model)
    with pytest.raises(KeyboardInterrupt):
        with_bucket(elsewhere, Dying(s3.address, ranges=0)).path(uri)
    (part,) = (elsewhere.root / ".fetching").rglob("*.part")
    part.write_text("x")

    assert folder_sha256(elsewhere.path(uri)) == sha256


def test_two_processes_that_fetch_at_once_both_get_it_whole(s3, store, elsewhere, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    uri = store.put_file(tmp_path / "large", "models")
    code = (
        "import sys, pathlib, hashlib; from shared.artifacts import open_store; "
        "from shared.config import Settings; "
        f"found = open_store(Settings()).path({uri!r}); "
        "print(hashlib.sha256(found.read_bytes()).hexdigest())"
    )
    environment = os.environ | {  # noqa: TID251 - of the process that is started
        "HEED_ARTIFACT_URL": s3.address.url,
        "HEED_ARTIFACT_CACHE_DIR": str(elsewhere.root),
        "AWS_ENDPOINT_URL": s3.address.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]

    said = [process.communicate()[0].decode().strip() for process in both]

    assert said == [uri.rpartition("/")[2]] * 2
    assert list((elsewhere.root / ".fetching").iterdir()) == []


def test_an_erased_snapshot_leaves_no_copy_on_another_machine(s3, store, elsewhere, tmp_path):
    (tmp_path / "a.jsonl").write_text("erased\n")
    (tmp_path / "b.jsonl").write_text("kept\n")
    erased, kept = store.put_file(tmp_path / "a.jsonl"), store.put_file(tmp_path / "b.jsonl")
    elsewhere.path(erased)
    elsewhere.path(kept)

    store.remove(erased)
    elsewhere.forget_removed()

    left = [path.read_text() for path in (elsewhere.root / "1" / "datasets").iterdir()]
    assert left == ["kept\n"]
    assert s3.bucket().sizes("1/datasets").keys() == {kept.rpartition("/")[2]}


def test_a_half_fetched_copy_of_an_erased_snapshot_goes_too(s3, store, elsewhere, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"x" * LARGE)
    uri = store.put_file(tmp_path / "a.jsonl")
    with pytest.raises(KeyboardInterrupt):
        with_bucket(elsewhere, Dying(s3.address, ranges=1)).path(uri)
    assert list((elsewhere.root / ".fetching").rglob("*.part"))

    store.remove(uri)
    elsewhere.forget_removed()

    assert list((elsewhere.root / ".fetching").iterdir()) == []


def test_copies_of_models_stay_when_the_bucket_loses_them(store, elsewhere, model):
    uri, _ = store.put_folder(model)
    elsewhere.path(uri)
    store.remove(uri)

    elsewhere.forget_removed()

    assert elsewhere.path(uri).exists()


def test_tidying_is_due_once_in_a_while(store):
    before = store.is_tidying_due()
    store.forget_removed()

    assert before
    assert not store.is_tidying_due()


def test_copies_used_longest_ago_make_room(s3, store, tmp_path):
    uris = []
    for number in range(3):
        (tmp_path / "file").write_bytes(bytes([number]) * 1000)
        uris.append(store.put_file(tmp_path / "file", "models"))
    small = s3.store(tmp_path / "small", most_bytes=2500)
    first, second = small.path(uris[0]), small.path(uris[1])
    for place, hours in ((first, 3), (second, 2)):
        os.utime(place, (time.time() - 3600 * hours,) * 2)
    small.path(uris[0])  # which makes the second the one used longest ago

    third = small.path(uris[2])

    assert [place.exists() for place in (first, second, third)] == [True, False, True]
    assert small.path(uris[1]).exists()


def test_copies_in_use_stay_whatever_they_take(s3, store, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    uri = store.put_file(tmp_path / "file", "models")

    place = s3.store(tmp_path / "tiny", most_bytes=1).path(uri)

    assert place.exists()


def test_a_folder_of_copies_that_cannot_be_written_is_named(s3, store, model, tmp_path):
    uri, _ = store.put_folder(model)
    (tmp_path / "closed").write_text("a file is in the way")

    with pytest.raises(ArtifactError, match="HEED_ARTIFACT_CACHE_DIR"):
        s3.store(tmp_path / "closed").path(uri)
