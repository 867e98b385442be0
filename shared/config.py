"""Settings every service shares: read once at the entry point, frozen, and passed in."""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigError

S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    """What every process of one deployment agrees on.

    Each field is the environment variable `HEED_<FIELD>`; an empty variable counts as not set.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEED_", frozen=True, env_ignore_empty=True, extra="ignore"
    )

    data_dir: Path = Field(
        Path(".heed"), description="Folder of the embedded database, artifacts, keys and logs."
    )
    database_url: SecretStr | None = Field(
        None, description="Postgres 16 or newer; empty means the embedded Postgres in the data dir."
    )
    artifact_dir: Path | None = Field(
        None, description="Folder of datasets and models; default: `artifacts` in the data dir."
    )
    artifact_url: str | None = Field(
        None,
        pattern=r"^s3://[A-Za-z0-9][A-Za-z0-9.-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$",
        description="Bucket of datasets and models, `s3://bucket/prefix`, in place of the folder: "
        "docs/artifact-store.md.",
    )
    artifact_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Address of the server that has the bucket, such as MinIO; empty means "
        "AWS_ENDPOINT_URL, or Amazon's.",
    )
    artifact_region: str | None = Field(
        None, description="Region of the bucket; empty means AWS_REGION, or us-east-1."
    )
    artifact_access_key_id: SecretStr | None = Field(
        None,
        description="Who reads and writes the bucket; empty means AWS_ACCESS_KEY_ID, or the "
        "machine's own role.",
    )
    artifact_secret_access_key: SecretStr | None = Field(
        None, description="Its secret; empty means AWS_SECRET_ACCESS_KEY, or the machine's role."
    )
    artifact_cache_dir: Path | None = Field(
        None,
        description="Folder of copies of what lies in the bucket; default: `artifact-cache` in the "
        "data dir.",
    )
    artifact_cache_bytes: int = Field(
        50_000_000_000,
        ge=0,
        description="Bytes the copies may take; those used longest ago go first, never one used "
        "within the hour. 0: no limit.",
    )
    artifact_patience_s: float = Field(
        60, ge=0, description="How long a request to the bucket is tried again, seconds."
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Keys the MACs, pseudonyms and signatures, at least 32 characters; "
        "empty means the file `secret.key` in the data dir, which is made on first use.",
    )
    encryption: Literal["off", "on"] = Field(
        "off", description="Whether new texts are stored encrypted: docs/encryption.md."
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description="Master keys, `id:base64key[,id:base64key]`; the first one is used for new "
        "data keys, the others stay readable.",
    )
    encryption_key_file: Path | None = Field(
        None,
        description="File with one master key `id:base64key` a line, readable by its owner only; "
        "instead of HEED_ENCRYPTION_KEYS.",
    )
    erasure_policy: Literal["retrain", "retire"] = Field(
        "retrain",
        description="What follows when erased rows were part of a live model: `retrain` trains it "
        "anew at once; with either, it is retired at the deadline if it is still live.",
    )
    erasure_deadline_days: int = Field(
        30, ge=0, description="Days that a live model may go on after rows it learned from went."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level of log lines that are written."
    )

    @field_validator("data_dir", "artifact_dir", "artifact_cache_dir", "encryption_key_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value

    @property
    def artifacts(self) -> Path:
        """The folder of datasets and models."""
        return self.artifact_dir or self.data_dir / "artifacts"

    @property
    def artifact_cache(self) -> Path:
        """The folder of copies of what lies in a bucket."""
        return self.artifact_cache_dir or self.data_dir / "artifact-cache"


def load_settings(kind: type[S], **given: object) -> S:
    """The settings of one process from its environment, overridden by what is given.

    Raises:
        ConfigError: a variable has a wrong value; the message names it and never shows a secret.
    """
    try:
        return kind(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(
            f"HEED_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()
        )
        raise ConfigError(f"Settings are wrong. {wrong}. See docs/configuration.md.") from None
