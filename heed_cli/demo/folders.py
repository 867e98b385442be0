"""Old demos: the newest few stay, and so does every folder that somebody went on with."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from heed_cli.deployment import SERVICES
from heed_cli.processes import ProcessFolder
from heed_cli.terminal import note
from shared.db import embedded

STAY = 3
STAMP = "%Y-%m-%d-%H%M%S"
_OURS = re.compile(r"\d{4}-\d{2}-\d{2}-\d{6}")


def mark_over(folder: Path) -> None:
    """Say that a demo was stopped here; a later start writes newer logs than this mark."""
    if folder.is_dir():
        _mark(folder).touch()


def remove_old(demos: Path) -> None:
    """Make room for one more demo: of those that are over, keep the newest."""
    for folder in sorted(_over(demos), reverse=True)[STAY - 1 :]:
        if not _is_running(folder):
            try:
                shutil.rmtree(folder)
            except OSError as error:
                note("old demo", f"{folder} cannot be removed ({error.strerror})")


def _mark(folder: Path) -> Path:
    return folder / "demo.over"


def _over(demos: Path) -> Iterator[Path]:
    for folder in demos.glob("*"):
        mark = _mark(folder)
        if _OURS.fullmatch(folder.name) and not folder.is_symlink() and mark.is_file():
            over_at = mark.stat().st_mtime_ns
            if all(log.stat().st_mtime_ns <= over_at for log in folder.glob("logs/*.log")):
                yield folder


def _is_running(folder: Path) -> bool:
    found = map(ProcessFolder(folder).find, SERVICES)
    is_serving = any(process is not None and process.is_alive for process in found)
    return is_serving or embedded.status(folder).running
