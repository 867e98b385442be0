"""Folders for what people wrote: nobody but the owner may look into them."""

from pathlib import Path


def make_private(folder: Path) -> None:
    """Make the folder and its missing parents for their owner only; what exists stays as it is."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def close_to_others(place: Path) -> None:
    """Take a file, or a folder with all that is in it, from everybody but the owner."""
    for path in (place, *place.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
