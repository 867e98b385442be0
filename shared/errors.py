"""Every error Heed raises on purpose, as one tree.

    HeedError                         something Heed can explain
    ├── InvalidInput                  the caller sent something wrong          (422)
    │   ├── MalformedBody             not JSON, not UTF-8, wrong media type    (400)
    │   ├── PersonalData              it holds personal data, which is blocked (422)
    │   ├── LeakingDataset            it trains on what it is judged on        (422)
    │   └── TooLarge                  a body or batch above the cap            (413)
    ├── Unauthenticated               no key, or a key that is not valid       (401)
    ├── Forbidden                     the key lacks a scope                    (403)
    ├── NotFound                      no such row, model, dataset              (404)
    ├── MethodNotAllowed          the path does not take this method       (405)
    ├── Conflict                      it exists already, or changed meanwhile  (409)
    ├── LimitExceeded                 too many requests of one key or rater    (429)
    ├── Overloaded                    full for the moment: retry later         (503)
    ├── Unavailable                   something Heed needs is not there        (503)
    │   ├── DatabaseUnavailable       Postgres cannot be reached
    │   ├── SchemaOutdated            the database needs `heed migrate`
    │   ├── StoreUnavailable          the bucket of artifacts cannot be reached
    │   └── KeyMissing                no master key opens the stored texts
    ├── NotEnoughData                 too few rows to train or to judge        (422)
    ├── ArtifactError                 a stored model cannot be trusted or read (500)
    │   └── MissingArtifact           it does not lie where it was stored
    ├── UnreadableText                a sealed text is not what was sealed     (500)
    ├── ConfigError                   a setting is missing or wrong            (500)
    └── RunInterrupted                a training run lost its claim or was cancelled

Errors know no HTTP; the table in `shared.web` maps a class to its status. A message says what was
wrong and what to do, and never repeats a prompt, a response, a comment or a secret.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Detail:
    """One wrong place in the input: a JSON pointer, a stable code and one sentence."""

    pointer: str
    code: str
    detail: str


class HeedError(Exception):
    """Something Heed can explain; `code` is stable and clients may switch on it."""

    code = "heed_error"
    title = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple[Detail, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = errors
        self.retry_after_s = retry_after_s


class InvalidInput(HeedError):
    """The caller sent something wrong."""

    code = "invalid_input"
    title = "The request is not valid"


class MalformedBody(InvalidInput):
    """The body is not JSON, not UTF-8, or not of an accepted media type."""

    code = "malformed_body"
    title = "The body cannot be read"


class TooLarge(InvalidInput):
    """The body or batch is larger than this deployment accepts."""

    code = "too_large"
    title = "The body is too large"


class PersonalData(InvalidInput):
    """The post holds personal data, which this deployment does not accept."""

    code = "personal_data"
    title = "The post holds personal data"


class LeakingDataset(InvalidInput):
    """What a model would be judged on is, nearly or exactly, among what it would learn from."""

    code = "leaking_dataset"
    title = "The held-out rows are not held out"


class Unauthenticated(HeedError):
    """There is no key, or the key is not valid."""

    code = "unauthenticated"
    title = "A valid API key is needed"


class Forbidden(HeedError):
    """The key lacks the scope this needs."""

    code = "forbidden"
    title = "The key does not allow this"


class NotFound(HeedError):
    """There is no such row, model version or dataset in this project."""

    code = "not_found"
    title = "Not found"


class MethodNotAllowed(HeedError):
    """The path exists, and takes other methods."""

    code = "method_not_allowed"
    title = "Method not allowed"


class Conflict(HeedError):
    """It exists already, or somebody changed it meanwhile."""

    code = "conflict"
    title = "Conflict"


class LimitExceeded(HeedError):
    """One key or one rater sent too many requests."""

    code = "limit_exceeded"
    title = "Too many requests"


class Overloaded(HeedError):
    """Full for the moment; nothing was accepted, the client may retry."""

    code = "overloaded"
    title = "Overloaded, try again later"


class Unavailable(HeedError):
    """Something Heed needs is not there at the moment."""

    code = "unavailable"
    title = "Not available at the moment"


class DatabaseUnavailable(Unavailable):
    """Postgres cannot be reached."""

    code = "database_unavailable"
    title = "The database cannot be reached"


class MaskingUnavailable(Unavailable):
    """Personal data cannot be masked at the moment, so nothing is stored."""

    code = "masking_unavailable"
    title = "Masking is not available"


class SchemaOutdated(Unavailable):
    """The database schema is older or newer than this code."""

    code = "schema_outdated"
    title = "The database needs a migration"


class StoreUnavailable(Unavailable):
    """The bucket that artifacts lie in cannot be reached."""

    code = "artifact_store_unavailable"
    title = "The artifact store cannot be reached"


class KeyMissing(Unavailable):
    """The master key that a stored data key needs is not here, or is not the one it was."""

    code = "encryption_key_missing"
    title = "A master key is missing"


class NotEnoughData(HeedError):
    """There are too few rows to train or to judge."""

    code = "not_enough_data"
    title = "Not enough data"


class ArtifactError(HeedError):
    """A stored model cannot be read, or is not what its manifest says."""

    code = "artifact_error"
    title = "The model cannot be loaded"


class MissingArtifact(ArtifactError):
    """A stored model or dataset does not lie where it was stored."""


class UnreadableText(HeedError):
    """A sealed text in the database was changed, or moved to where it does not belong."""

    code = "unreadable_text"
    title = "A stored text cannot be read"


class ConfigError(HeedError):
    """A setting is missing or wrong."""

    code = "config_error"
    title = "The configuration is wrong"


class RunInterrupted(HeedError):
    """A training run lost its claim or was asked to stop."""

    code = "run_interrupted"
    title = "The run was stopped"
