"""What a bucket adds to a folder: other machines, a network that fails, refusals, retries."""

import hashlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.artifacts import folder_sha256, open_store
from shared.artifacts.bucket import BucketStore
from shared.artifacts.objects import Bucket
from shared.config import Settings, load_settings
from shared.errors import ArtifactError, ConfigError, MissingArtifact, StoreUnavailable
from tests.support.s3 import Dying, s3_server, with_bucket

LARGE = 20_000_000  # bytes; more than one request brings


def test_another_machine_gets_what_one_stored(store, elsewhere, model):
    uri, sha256 = store.put_folder(model)

    found = elsewhere.path(uri)

    assert folder_sha256(found) == sha256
    assert found.is_relative_to(elsewhere.root)


def test_a_bucket_that_is_away_is_told_as_such(elsewhere, store, s3, model):
    uri, _ = store.put_folder(model)
    away = with_bucket(elsewhere, s3.bucket(endpoint="http://127.0.0.1:9", patience_s=0.2))

    with pytest.raises(StoreUnavailable, match="cannot be reached at http://127.0.0.1:9"):
        away.path(uri)


def test_a_bucket_that_comes_back_in_time_is_waited_for(s3, tmp_path, model):
    with s3_server() as url:
        port = int(url.rpartition(":")[2])
    code = (
        "import sys, time; time.sleep(1.0); "
        "from moto.moto_server.threaded_moto_server import ThreadedMotoServer as Server; "
        f"Server('127.0.0.1', {port}, verbose=False).start(); "
        f"import httpx; httpx.put('{url}/the-bucket'); sys.stdin.read()"
    )
    address = replace(s3.address, url="s3://the-bucket", endpoint=url, patience_s=60)
    server = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        store = with_bucket(s3.store(tmp_path / "here"), Bucket(address))
        uri = _until_there(store, model)

        assert store.holds(uri)
    finally:
        server.kill()
        server.communicate()


def _until_there(store: BucketStore, model: Path) -> str:
    while True:
        try:
            return store.put_folder(model)[0]
        except ConfigError:  # the server is there a moment before its bucket
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "s3://heed-no-such-bucket"}, "There is no bucket heed-no-such-bucket"),
        ({"endpoint": "http://127.0.0.1:9", "patience_s": 0.2}, "cannot be reached"),
        ({"endpoint": "http://no-such-host.invalid", "patience_s": 0.2}, "cannot be reached"),
    ],
)
def test_a_wrong_setting_is_named(store, s3, model, changed, said):
    with pytest.raises((ConfigError, StoreUnavailable), match=said):
        with_bucket(store, s3.bucket(**changed)).put_folder(model)


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        ("status code: 403 Forbidden: <Code>AccessDenied</Code>", ConfigError, "AccessDenied"),
        ("status code: 301: <Code>PermanentRedirect</Code>", ConfigError, "HEED_ARTIFACT_REGION"),
        ("status code: 503: <Code>SlowDown</Code>", StoreUnavailable, "SlowDown"),
        ("Error performing PUT http://169.254.169.254/latest", ConfigError, "no credentials"),
        ("HTTP error: error sending request", StoreUnavailable, "cannot be reached"),
    ],
)
def test_a_refusal_says_what_to_do(s3, reply, error, said):
    explained = s3.bucket()._explain(f"Generic S3 error: {reply}")

    assert type(explained) is error
    assert said in explained.detail


def test_no_message_holds_a_secret(s3, store, model):
    secret = SecretStr("not-to-be-seen")
    wrong = s3.bucket(url="s3://heed-no-such-bucket", access_key_id=secret)

    with pytest.raises(ConfigError) as caught:
        with_bucket(store, wrong).put_folder(model)

    assert "not-to-be-seen" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_killed_upload_leaves_no_half_artifact_and_goes_on(s3, store, elsewhere, model):
    sha256 = folder_sha256(model)
    uri = f"artifact://1/models/{sha256}"
    dying = Dying(s3.address, puts=2)
    with pytest.raises(KeyboardInterrupt):
        with_bucket(store, dying).put_folder(model)

    with pytest.raises(MissingArtifact):
        elsewhere.path(uri)
    assert not store.holds(uri)
    with pytest.raises(MissingArtifact):
        with_bucket(store, s3.bucket()).path(uri)
    again = Dying(s3.address)
    assert with_bucket(store, again).put_folder(model) == (uri, sha256)

    assert len(dying.sent) == 2
    assert len(again.sent) == 2
    assert again.sent[-1] == "list"
    assert folder_sha256(elsewhere.path(uri)) == sha256


@pytest.mark.parametrize("name", ["weights", "list"])
def test_a_damaged_object_is_refused_and_can_be_stored_again(s3, store, elsewhere, model, name):
    uri, sha256 = store.put_folder(model)
    key = uri.removeprefix("artifact://") + ("/list" if name == "list" else f"/files/{name}")
    s3.bucket().put(key, b"WEIGHTS")

    with pytest.raises(ArtifactError, match="is damaged"):
        elsewhere.path(uri)
    assert not (elsewhere.root / "1").exists()

    store.put_folder(model)
    assert folder_sha256(elsewhere.path(uri)) == sha256


def test_an_object_that_is_missing_from_a_folder_is_told(s3, store, elsewhere, model):
    uri, _ = store.put_folder(model)
    s3.bucket().delete(uri.removeprefix("artifact://") + "/files/weights")

    with pytest.raises(MissingArtifact, match="files/weights"):
        elsewhere.path(uri)


def test_a_list_that_leads_out_of_its_folder_is_refused(s3, elsewhere):
    text = b"0" * 64 + b"  ../../../outside\n"
    sha256 = hashlib.sha256(text).hexdigest()
    s3.bucket().put(f"1/models/{sha256}/list", text)

    with pytest.raises(ArtifactError, match="outside of it"):
        elsewhere.path(f"artifact://1/models/{sha256}")


def test_a_run_is_taken_up_on_another_machine(store, elsewhere, model):
    store.keep_checkpoint("run", 1, model)

    found = elsewhere.newest_checkpoint("run")

    assert found is not None
    assert folder_sha256(found) == folder_sha256(model)


def test_a_half_stored_checkpoint_does_not_count_and_goes(s3, store, elsewhere, model):
    store.keep_checkpoint("run", 1, model)
    (model / "weights").write_text("later")
    with pytest.raises(KeyboardInterrupt):
        with_bucket(store, Dying(s3.address, puts=2)).keep_checkpoint("run", 1, model)

    found = elsewhere.newest_checkpoint("run")
    assert found is not None
    assert (found / "weights").read_text() == "weights"

    elsewhere.keep_checkpoint("run", 2, model)
    names = {path.partition("/")[0] for path in s3.bucket().sizes("checkpoints/run")}
    assert [name.partition("-")[0] for name in names] == ["000002"]


def test_nothing_of_removed_checkpoints_is_left(s3, store, elsewhere, model):
    store.keep_checkpoint("run", 1, model)
    elsewhere.newest_checkpoint("run")

    store.remove_checkpoints("run")
    elsewhere.forget_removed()

    assert s3.bucket().sizes("checkpoints") == {}
    assert list((elsewhere.root / ".checkpoints").glob("*/*")) == []


def test_the_settings_open_the_bucket(s3, tmp_path, model):
    settings = Settings(data_dir=tmp_path / "data", **s3.settings)

    uri, _ = open_store(settings).put_folder(model)

    assert s3.store(tmp_path / "elsewhere").holds(uri)
    assert (tmp_path / "data" / "artifact-cache" / "1" / "models").exists()
    assert not settings.artifacts.exists()


@pytest.mark.parametrize("url", ["bucket", "s3://", "https://host/bucket", "s3://bucket/../x"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="HEED_ARTIFACT_URL"):
        load_settings(Settings, artifact_url=url)
