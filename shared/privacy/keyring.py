"""Master keys: they come from outside the database and wrap the data keys that lie inside it."""

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.config import Settings
from shared.errors import ConfigError, KeyMissing

KEY_BYTES = 32
NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAKE_ONE = "`heed encryption new-key` makes one."


@dataclass(frozen=True)
class Keyring:
    """The master keys this process knows by id; the first one wraps new data keys."""

    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def active_id(self) -> str:
        """The id of the key that wraps new data keys.

        Raises:
            ConfigError: there is no key at all.
        """
        if not self.keys:
            raise _no_key()
        return next(iter(self.keys))

    def wrap(self, data_key: bytes, owner: str) -> bytes:
        """The data key as it may be stored; it unwraps for the same owner only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.keys[self.active_id]).encrypt(nonce, data_key, owner.encode())

    def unwrap(self, wrapped: bytes, owner: str, key_id: str) -> bytes:
        """The data key again.

        Raises:
            KeyMissing: the master key of that id is not here, or is not the one it was.
        """
        master_key = self.keys.get(key_id)
        if master_key is None:
            raise KeyMissing(
                f"The master key with the id {key_id} is needed to read stored texts: add it to "
                "HEED_ENCRYPTION_KEYS or HEED_ENCRYPTION_KEY_FILE; it need not come first."
            )
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(master_key).decrypt(nonce, sealed, owner.encode())
        except InvalidTag:
            raise KeyMissing(
                f"The master key with the id {key_id} is not the one that was used under this id, "
                "or a data key in the database was changed. Put the right key back."
            ) from None


def new_master_key() -> str:
    """A fresh master key as one entry of HEED_ENCRYPTION_KEYS, `id:base64key`."""
    return f"k{secrets.token_hex(4)}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def load_keyring(settings: Settings) -> Keyring:
    """The master keys of the environment or of the key file; none when neither is set.

    Raises:
        ConfigError: a key is malformed or twice there, the file cannot be read or others may read
            it, both are set, or encryption is on without a key.
    """
    given, path = settings.encryption_keys, settings.encryption_key_file
    if given is not None and path is not None:
        raise ConfigError("Set HEED_ENCRYPTION_KEYS or HEED_ENCRYPTION_KEY_FILE, not both.")
    keyring = Keyring()
    if given is not None:
        keyring = _parse(given.get_secret_value().split(","), "HEED_ENCRYPTION_KEYS")
    elif path is not None:
        keyring = _parse(_lines(path), str(path))
    if settings.encryption == "on" and not keyring.keys:
        raise _no_key()
    return keyring


def _no_key() -> ConfigError:
    return ConfigError(
        "Encryption needs a master key: set HEED_ENCRYPTION_KEYS or HEED_ENCRYPTION_KEY_FILE. "
        f"{_MAKE_ONE}"
    )


def _lines(path: Path) -> list[str]:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"The key file {path} can be read by others: chmod 600 {path}")
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The key file {path} cannot be read ({type(error).__name__}); check "
            "HEED_ENCRYPTION_KEY_FILE."
        ) from None


def _parse(entries: list[str], source: str) -> Keyring:
    keys: dict[str, bytes] = {}
    stripped = (entry.strip() for entry in entries)
    for at, entry in enumerate((e for e in stripped if e and not e.startswith("#")), start=1):
        key_id, _, encoded = entry.partition(":")
        if not _KEY_ID.fullmatch(key_id):
            raise ConfigError(
                f"Master key {at} in {source} has no proper id: write `id:base64key`, the id of "
                f"letters, digits, `_`, `.` and `-`. {_MAKE_ONE}"
            )
        if key_id in keys:
            raise ConfigError(f"The master key id {key_id} is in {source} twice; keep one.")
        keys[key_id] = _decoded(encoded, key_id, source)
    return Keyring(keys)


def _decoded(encoded: str, key_id: str, source: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"The master key {key_id} in {source} is not {KEY_BYTES} bytes in base64. {_MAKE_ONE}"
        )
    return key
