"""A server that speaks S3, on this machine, with a bucket for each test."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from pydantic import SecretStr

from shared.artifacts.bucket import BucketStore
from shared.artifacts.folder import FolderStore
from shared.artifacts.objects import Bucket, BucketAddress
from shared.ids import new_id


@dataclass(frozen=True)
class Place:
    """A bucket of its own, and what a deployment must set to use it."""

    address: BucketAddress

    @property
    def settings(self) -> dict[str, object]:
        """The settings of a deployment whose artifacts lie here."""
        return {
            "artifact_url": self.address.url,
            "artifact_endpoint": self.address.endpoint,
            "artifact_region": self.address.region,
            "artifact_access_key_id": self.address.access_key_id,
            "artifact_secret_access_key": self.address.secret_access_key,
            "artifact_patience_s": self.address.patience_s,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        plain = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in self.settings.items()
        }
        return {f"HEED_{name.upper()}": value for name, value in plain.items()}

    def bucket(self, **changed: object) -> Bucket:
        """The bucket as somebody with other settings reaches it."""
        return Bucket(replace(self.address, **changed))

    def store(self, copies: Path, *, most_bytes: int = 0) -> BucketStore:
        """The store as a machine with its own folder of copies sees it."""
        return copying_to(copies, Bucket(self.address), most_bytes=most_bytes)

    def keep_versions(self) -> None:
        """Let the bucket keep what is overwritten and deleted, as many buckets do."""
        body = (
            '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<Status>Enabled</Status></VersioningConfiguration>"
        )
        url = f"{self.address.endpoint}/{self.address.bucket}?versioning"
        httpx.put(url, content=body).raise_for_status()


def copying_to(copies: Path, bucket: Bucket, *, most_bytes: int = 0) -> BucketStore:
    """A store on a bucket with copies in a folder."""
    folder = FolderStore(copies, setting="HEED_ARTIFACT_CACHE_DIR")
    return BucketStore(bucket, folder, most_bytes=most_bytes)


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


def with_bucket(store: BucketStore, bucket: Bucket) -> BucketStore:
    """The same machine's store on another bucket, or on the same one reached otherwise."""
    return copying_to(store.root, bucket)


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def new_place(endpoint: str) -> Place:
    """A bucket that nobody else uses."""
    name = f"heed-{new_id().hex}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    secret = SecretStr("test")
    return Place(
        BucketAddress(f"s3://{name}/some/prefix", endpoint, "us-east-1", secret, secret, 2.0)
    )
