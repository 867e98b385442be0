"""The deployment's secret, MACs and pseudonyms."""

import hashlib
import hmac
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from shared.config import Settings
from shared.errors import ConfigError
from shared.privacy import load_secret, mac, pseudonym

SECRET = b"k" * 32


def _load(folder: str) -> bytes:
    return load_secret(Settings(data_dir=Path(folder)))


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path):
    first, second = _load(str(tmp_path)), _load(str(tmp_path))

    assert first == second
    assert len(first) == 64
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_processes_that_start_at_once_agree_on_one_secret(tmp_path: Path):
    with ProcessPoolExecutor(4) as pool:
        secrets = set(pool.map(_load, [str(tmp_path)] * 16))

    assert len(secrets) == 1


def test_a_given_secret_key_wins(tmp_path: Path):
    settings = Settings(data_dir=tmp_path, secret_key="s" * 40)

    assert load_secret(settings) == b"s" * 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_spoiled_secret_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "secret.key").write_bytes(content)

    with pytest.raises(ConfigError, match=r"secret\.key"):
        _load(str(tmp_path))


def test_a_mac_is_hmac_sha256_over_length_prefixed_parts():
    encoded = b"".join(len(part).to_bytes(8, "big") + part for part in (b"use", b"ab", b"c"))

    assert mac(SECRET, "use", "ab", b"c") == hmac.new(SECRET, encoded, hashlib.sha256).digest()


@pytest.mark.parametrize("parts", [("a", "bc"), ("abc",), ("ab", "c", "")])
def test_parts_split_elsewhere_have_another_mac(parts: tuple[str, ...]):
    assert mac(SECRET, "use", *parts) != mac(SECRET, "use", "ab", "c")


def test_a_person_has_one_pseudonym_per_project_kind_and_deployment():
    same = {pseudonym(SECRET, 1, "rater", 123), pseudonym(SECRET, 1, "rater", "123")}
    others = {
        pseudonym(SECRET, 2, "rater", 123),
        pseudonym(SECRET, 1, "subject", 123),
        pseudonym(b"o" * 32, 1, "rater", 123),
        pseudonym(SECRET, 1, "rater", 124),
    }

    assert len(same) == 1
    assert len(others | same) == 5
    assert same.pop().startswith("r_")
