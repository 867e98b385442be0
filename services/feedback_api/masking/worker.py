"""The process that masks: reads frames of rows on standard input, writes frames of results.

A frame is four bytes of length, big-endian, and JSON. It ends when its input ends, so it never
outlives the service. Nothing of a row leaves it but the masked row: of an error only the type.
"""

import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json

from services.feedback_api.masking.rows import mask_row
from shared.privacy.masking import Masker

SIZE = 4
READY = {"ready": True}


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer every frame of `requests` on `replies` until the first ends."""
    masker = Masker()
    _write(replies, READY)
    for rows in _frames(requests):
        _write(replies, [_masked(masker, row) for row in rows])


def _masked(masker: Masker, row: dict[str, Any]) -> dict[str, Any]:
    try:
        masked = mask_row(masker, row)
    except Exception as error:  # noqa: BLE001 - its message may hold text; the post is refused
        return {"failed": type(error).__name__}
    return vars(masked)


def _frames(stream: BinaryIO) -> Iterator[list[dict[str, Any]]]:
    while len(head := stream.read(SIZE)) == SIZE:
        yield from_json(stream.read(int.from_bytes(head, "big")))


def _write(stream: BinaryIO, value: Any) -> None:
    content = to_json(value)
    stream.write(len(content).to_bytes(SIZE, "big") + content)
    stream.flush()


if __name__ == "__main__":
    # Ctrl-C reaches the whole group; the service ends this process when it has drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
