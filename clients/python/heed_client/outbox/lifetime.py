"""What open outboxes do when the process forks, and when it ends."""

import atexit
import os
import threading
from typing import Protocol

from heed_client.outbox.files import release_inherited

AT_EXIT_S = 2.0


class OpenOutbox(Protocol):
    """What an outbox can do about it."""

    def before_fork(self) -> None: ...

    def after_fork(self, *, is_child: bool) -> None: ...

    def close(self, timeout_s: float) -> bool: ...


_open: set[OpenOutbox] = set()
_forking: list[OpenOutbox] = []
_one_fork = threading.Lock()


def remember_open(outbox: OpenOutbox) -> None:
    """From now on it is made ready for forks, and closed when the process ends."""
    _open.add(outbox)


def forget_open(outbox: OpenOutbox) -> None:
    """It is closed."""
    _open.discard(outbox)


def _before_fork() -> None:
    _one_fork.acquire()
    _forking.extend(_open)
    for outbox in _forking:
        outbox.before_fork()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork(is_child=False)
    _one_fork.release()


def _after_fork_in_child() -> None:
    release_inherited()
    while _forking:
        _forking.pop().after_fork(is_child=True)
    _one_fork.release()


def _close_all() -> None:
    for outbox in list(_open):
        outbox.close(AT_EXIT_S)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
