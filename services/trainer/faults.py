"""What may be told of an unexpected error."""

from pathlib import Path
from traceback import extract_tb


def where(error: BaseException) -> str:
    """What went wrong and where, without the message: it may repeat what people wrote."""
    frames = extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
