"""What a file's or a folder's content is called."""

import hashlib
from pathlib import Path
from typing import NamedTuple


class Listed(NamedTuple):
    """One file of a folder: the hex SHA-256 of its bytes, and its path in the folder."""

    sha256: str
    path: str


def file_sha256(path: Path) -> str:
    """The hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_folder(folder: Path) -> list[Listed]:
    """Every file of a folder and of the folders in it, in the order of their paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Listed(file_sha256(path), path.relative_to(folder).as_posix()) for path in files]


def list_text(files: list[Listed]) -> bytes:
    """The lines `<file sha256>  <relative path>`, whose SHA-256 is the folder's."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in files).encode()


def folder_sha256(folder: Path) -> str:
    """The hex SHA-256 of a folder: of its sorted lines `<file sha256>  <relative path>`."""
    return hashlib.sha256(list_text(list_folder(folder))).hexdigest()


def digest(place: Path) -> str:
    """The hex SHA-256 of a file or a folder."""
    return folder_sha256(place) if place.is_dir() else file_sha256(place)
