"""Reads one JSON array item by item, so that a file larger than memory can be imported."""

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

_CHUNK = 1 << 16
_BLANK = " \t\r\n"


def array_items(file: IO[bytes]) -> Iterator[Any]:
    """The items of the array that the file holds.

    Raises:
        ValueError: it is not JSON in UTF-8, or ends before the array does.
    """
    window = _Window(file)
    if window.take() != "[":
        raise ValueError("no array")
    if window.peek() == "]":
        return
    while True:
        yield window.value()
        mark = window.take()
        if mark == "]":
            return
        if mark != ",":
            raise ValueError("no comma")


class _Window:
    """The part of the text that is read and not used yet."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._at = "", 0
        self._is_over = False

    def peek(self) -> str:
        """The next character that is not blank; it stays."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            self._read(_CHUNK)

    def take(self) -> str:
        """The next character that is not blank."""
        mark = self.peek()
        self._at += 1
        return mark

    def value(self) -> Any:
        """The next value; each failed attempt reads twice as much more, so the work is linear."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except (ValueError, RecursionError):
                self._read(size)
                size *= 2
                continue
            if end == len(self._text) and not self._is_over:
                self._read(size)  # a number may go on in the next piece
                continue
            self._at = end
            return value

    def _read(self, size: int) -> None:
        if self._is_over:
            raise ValueError("the text ends in the middle")
        piece = self._file.read(size)
        self._is_over = not piece
        self._text = self._text[self._at :] + self._decode(piece, final=self._is_over)
        self._at = 0
