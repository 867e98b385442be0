"""Which operating-system user runs the embedded Postgres, and what that user may enter.

Postgres refuses to run as root, so root hands it to an unprivileged account; that account must
then be able to reach the data folder, which for root is often under a private home.
"""

import errno
import os
import pwd
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigError

_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_NO_ID = 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_MAY_ENTER = 1
_Entry = tuple[int, int, int]  # tag, permission bits, user or group id


@dataclass(frozen=True)
class ServerUser:
    """The account that owns the database files and runs the server."""

    name: str
    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        """Whether this process runs as that account already."""
        return self.uid == os.geteuid()

    def may(self, mode: str, path: Path) -> bool:
        """Whether this account passes `test -<mode>` on a path, asked as this account."""
        done = subprocess.run(
            ["/bin/sh", "-c", f'test -{mode} "$1"', "sh", str(path)],
            cwd="/",
            env={},
            check=False,
            **self.identity(),
        )
        return done.returncode == 0

    def identity(self) -> dict[str, Any]:
        """Keyword arguments that make `subprocess` run a program as this account."""
        if self.is_current:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_user(data_dir: Path, pgdata: Path) -> ServerUser:
    """The account that runs Postgres for a data dir: ourselves, or as root an unprivileged one.

    Raises:
        ConfigError: our uid has no passwd entry, or the files belong to somebody else.
    """
    if os.geteuid() == 0:
        return _user_chosen_by_root(data_dir, pgdata)
    for folder in (pgdata, data_dir):
        if folder.exists() and folder.stat().st_uid != os.geteuid():
            raise ConfigError(
                f"{folder} belongs to {_name_of(folder.stat().st_uid)}: run Heed as that user, "
                "or set HEED_DATA_DIR to a folder of your own."
            )
    return _account(os.geteuid())


def _user_chosen_by_root(data_dir: Path, pgdata: Path) -> ServerUser:
    for folder in (pgdata, data_dir):
        if folder.exists() and folder.stat().st_uid != 0:
            return _account(folder.stat().st_uid)
    for name in ("postgres", "nobody"):
        try:
            return _account(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    raise ConfigError(
        "Postgres does not run as root and there is no user `postgres` or `nobody` to run it: "
        "run Heed as an ordinary user, or set HEED_DATABASE_URL to a Postgres server."
    )


def _account(uid: int) -> ServerUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise ConfigError(
            f"The embedded Postgres needs a user name and uid {uid} has none: add it to "
            "/etc/passwd, or set HEED_DATABASE_URL to a Postgres server."
        ) from None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def open_path(folder: Path, user: ServerUser) -> None:
    """Let the server's account pass through every folder down to `folder`, and nothing more.

    Raises:
        ConfigError: the file system stores no access lists and a parent folder is private.
    """
    if user.is_current or user.may("x", folder):
        return
    for step in (*reversed(folder.parents), folder):
        if not user.may("x", step):
            _let_enter(step, user)


def _let_enter(folder: Path, user: ServerUser) -> None:
    try:
        entries = _grant(_read_acl(folder), user.uid)
        packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
        os.setxattr(folder, _ACL, struct.pack("<I", _ACL_VERSION) + packed)
    except (OSError, AttributeError):  # no access lists here, or no such call (macOS)
        raise ConfigError(
            f"Postgres runs as user {user.name}, who cannot enter {folder}: set HEED_DATA_DIR to "
            f"a folder outside it such as /var/lib/heed, or run `chmod o+x {folder}`."
        ) from None


def _read_acl(folder: Path) -> list[_Entry]:
    try:
        raw = os.getxattr(folder, _ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        mode = folder.stat().st_mode
        return [
            (_USER_OBJ, mode >> 6 & 7, _NO_ID),
            (_GROUP_OBJ, mode >> 3 & 7, _NO_ID),
            (_OTHER, mode & 7, _NO_ID),
        ]
    return [struct.unpack_from("<HHI", raw, at) for at in range(4, len(raw), 8)]


def _grant(entries: list[_Entry], uid: int) -> list[_Entry]:
    """The access list with `uid` allowed to enter; the mask keeps what others could do before."""
    already = [bits for tag, bits, who in entries if (tag, who) == (_USER, uid)]
    kept = [e for e in entries if e[0] != _MASK and (e[0], e[2]) != (_USER, uid)]
    old_mask = next((bits for tag, bits, _ in entries if tag == _MASK), None)
    if old_mask is None:
        old_mask = next(bits for tag, bits, _ in entries if tag == _GROUP_OBJ)
    granted = (_USER, sum(already) | _MAY_ENTER, uid)
    return sorted(
        [*kept, granted, (_MASK, old_mask | _MAY_ENTER, _NO_ID)], key=lambda e: (e[0], e[2])
    )
