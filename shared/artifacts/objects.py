"""A bucket that speaks S3, in the few words that a store of artifacts needs.

The library comes with the extra `s3` and is imported when a bucket is first reached, so who keeps
artifacts in a folder, or has all of them on this machine, does without it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.errors import ConfigError, HeedError, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import S3Store

CHUNK_BYTES = 8 * 1024 * 1024  # what one request brings, so that a slow line stays in its timeout
_TIMEOUT_S, _CONNECT_S = 60, 5
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_INSTANCE_METADATA = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254")
_LATER = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling"}


@dataclass(frozen=True)
class BucketAddress:
    """Where a bucket is and who asks.

    Attributes:
        url: `s3://bucket` or `s3://bucket/prefix`.
        endpoint: of a server other than Amazon's, `http://` or `https://`; None is the standard
            AWS environment's.
        patience_s: for how long a request is tried again.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    patience_s: float = 60.0

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What all keys begin with, without slashes around it."""
        return urlsplit(self.url).path.strip("/")


class Bucket:
    """Objects by key below the prefix of a bucket.

    Every method raises `StoreUnavailable` where the bucket cannot be reached for now, and
    `ConfigError` where it does not exist or does not let us in.
    """

    def __init__(self, address: BucketAddress) -> None:
        self.address = address

    def put(self, key: str, content: bytes | Path, sha256: str = "") -> str | None:
        """Store an object whole, with its hash beside it; its version where the bucket keeps any.

        A file is sent in parts if it is large.
        """
        with self._explained():
            stored = self._client.put(
                key, content, attributes={"sha256": sha256}, chunk_size=2 * CHUNK_BYTES,
                max_concurrency=4,
            )  # fmt: skip
        version = stored["version"]
        return None if version == "null" else version

    def sha256(self, key: str) -> str | None:
        """The hash that an object was stored with; None where there is none."""
        with self._explained():
            try:
                found = self._client.get(key, options={"head": True})
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None
            return dict(found.attributes).get("sha256")

    def size(self, key: str) -> int | None:
        """An object's bytes; None where there is no object."""
        with self._explained():
            try:
                return int(self._client.head(key)["size"])
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None

    def read(self, key: str) -> bytes | None:
        """All of a small object; None where there is no object."""
        with self._explained():
            try:
                return bytes(self._client.get(key).bytes())
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Some bytes of an object that has them; None where there is no object."""
        with self._explained():
            try:
                return bytes(self._client.get_range(key, start=start, length=length))
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None

    def sizes(self, folder: str) -> dict[str, int]:
        """The bytes of every object below a folder, by its path in that folder."""
        with self._explained():
            return {
                str(item["path"])[len(folder) + 1 :]: int(item["size"])
                for page in self._client.list(folder)
                for item in page
            }

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder."""
        with self._explained():
            found = self._client.list_with_delimiter(folder)["common_prefixes"]
            return sorted(str(path).rpartition("/")[2] for path in found)

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone already is fine."""
        with self._explained():
            try:
                self._client.delete(key)
            except FileNotFoundError as error:
                self._require_bucket(error)

    @cached_property
    def _client(self) -> "S3Store":
        try:
            from obstore.store import S3Store
        except ImportError:
            raise ConfigError(
                f'Artifacts in {self.address.url} need the extra s3: pip install "heed-rlhf[s3]".'
            ) from None
        address = self.address
        given: dict[str, Any] = {
            "prefix": address.prefix or None,
            "endpoint": address.endpoint,
            "region": address.region,
            "access_key_id": _plain(address.access_key_id),
            "secret_access_key": _plain(address.secret_access_key),
        }
        options: dict[str, Any] = {"timeout": f"{_TIMEOUT_S}s", "connect_timeout": f"{_CONNECT_S}s"}
        # Without an endpoint of ours, it is for the standard environment to say whether TLS is on.
        options["allow_http"] = address.endpoint is None or address.endpoint.startswith("http://")
        return S3Store(
            address.bucket,
            client_options=options,  # type: ignore[arg-type]
            retry_config={
                "max_retries": 20,
                "retry_timeout": timedelta(seconds=address.patience_s),
            },
            **{name: value for name, value in given.items() if value is not None},
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the library raises into errors that say what to do."""
        try:
            yield
        except HeedError:
            raise
        except Exception as error:
            from obstore.exceptions import BaseError

            if not isinstance(error, BaseError | FileNotFoundError | PermissionError):
                raise
            raise self._explain(str(error)) from None  # its text may hold keys

    def _require_bucket(self, error: FileNotFoundError) -> None:
        """A missing bucket is told like a missing object: not the same thing."""
        if "<Code>NoSuchBucket</Code>" in str(error):
            raise self._explain(str(error)) from None

    def _explain(self, said: str) -> HeedError:
        code, status = _CODE.search(said), _STATUS.search(said)
        why = code[1] if code else f"HTTP {status[1]}" if status else ""
        address = self.address
        if any(host in said for host in _INSTANCE_METADATA):
            return ConfigError(
                f"There are no credentials for {address.url}: set HEED_ARTIFACT_ACCESS_KEY_ID and "
                "HEED_ARTIFACT_SECRET_ACCESS_KEY, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        if why == "NoSuchBucket":
            return ConfigError(
                f"There is no bucket {address.bucket} at {self._server}: make it, or correct "
                "HEED_ARTIFACT_URL."
            )
        is_refused = status is not None and status[1][0] in "34" and status[1] not in ("408", "429")
        if is_refused and why not in _LATER:
            return ConfigError(
                f"{self._server} refuses access to {address.url} ({why}): check the credentials, "
                "their permissions (list, read, write, delete), HEED_ARTIFACT_REGION and "
                "HEED_ARTIFACT_ENDPOINT."
            )
        return StoreUnavailable(
            f"The artifact store {address.url} cannot be reached at {self._server}"
            f"{f' ({why})' if why else ''}: check HEED_ARTIFACT_ENDPOINT and the network; what is "
            "on this machine already can still be used.",
            retry_after_s=30,
        )

    @property
    def _server(self) -> str:
        return self.address.endpoint or "the S3 endpoint of the AWS environment"


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
