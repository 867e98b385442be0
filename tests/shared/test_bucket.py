"""What a bucket adds to a folder: other machines, a network that fails, copies, retries."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.artifacts import folder_sha256, open_store
from shared.artifacts.bucket import BucketStore
from shared.artifacts.objects import Bucket, BucketAddress
from shared.config import Settings, load_settings
from shared.errors import ArtifactError, ConfigError, MissingArtifact, StoreUnavailable
from tests.support.s3 import Place, copying_to, s3_server

LARGE = 20_000_000  # bytes; more than one request brings


class Dying(Bucket):
    """A bucket that a process reaches until it dies, after some requests of one kind."""

    def __init__(self, address: BucketAddress, *, puts: int = 9**9, ranges: int = 9**9) -> None:
        super().__init__(address)
        self.left = {"puts": puts, "ranges": ranges}
        self.sent: list[str] = []

    def put(self, key: str, content: bytes | Path, sha256: str = "") -> str | None:
        """Store one, unless it is over."""
        self._count("puts")
        self.sent.append(key.rpartition("/")[2])
        return super().put(key, content, sha256)

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Read one, unless it is over."""
        self._count("ranges")
        self.sent.append(f"{key.rpartition('/')[2]} from {start}")
        return super().read_range(key, start, length)

    def _count(self, what: str) -> None:
        if self.left[what] == 0:
            raise KeyboardInterrupt
        self.left[what] -= 1


@pytest.fixture
def store(s3: Place, tmp_path: Path) -> BucketStore:
    """The store as the machine sees it that makes models."""
    return s3.store(tmp_path / "here")


@pytest.fixture
def elsewhere(s3: Place, tmp_path: Path) -> BucketStore:
    """The store as another machine sees it."""
    return s3.store(tmp_path / "elsewhere")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of three files, one in a folder and with a name that needs care in a URL."""
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "inner" / "ä b+c%20#?.txt").write_text("text")
    (folder / "weights").write_bytes(b"weights")
    return folder


def with_bucket(store: BucketStore, bucket: Bucket) -> BucketStore:
    """The same machine's store on another bucket, or on the same one reached otherwise."""
    return copying_to(store.root, bucket)


def test_another_machine_gets_what_one_stored(store, elsewhere, model):
    uri, sha256 = store.put_folder(model)

    found = elsewhere.path(uri)

    assert folder_sha256(found) == sha256
    assert found.is_relative_to(elsewhere.root)


def test_what_is_here_is_found_while_the_bucket_is_away(store, s3, model):
    uri, _ = store.put_folder(model)
    away = with_bucket(store, s3.bucket(endpoint="http://127.0.0.1:9"))

    assert away.path(uri) == store.path(uri)


def test_a_bucket_that_is_away_is_told_as_such(elsewhere, store, s3, model):
    uri, _ = store.put_folder(model)
    away = with_bucket(elsewhere, s3.bucket(endpoint="http://127.0.0.1:9", patience_s=0.2))

    with pytest.raises(StoreUnavailable, match="cannot be reached at http://127.0.0.1:9"):
        away.path(uri)


def test_a_bucket_that_comes_back_in_time_is_waited_for(s3, tmp_path, model):
    with s3_server() as url:
        port = int(url.rpartition(":")[2])
    code = (
        "import sys, time; time.sleep(1.0); from tests.support import s3; "
        "from moto.moto_server.threaded_moto_server import ThreadedMotoServer as Server; "
        f"Server('127.0.0.1', {port}, verbose=False).start(); "
        f"import httpx; httpx.put('{url}/the-bucket'); sys.stdin.read()"
    )
    address = replace(s3.address, url="s3://the-bucket", endpoint=url, patience_s=60)
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
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
