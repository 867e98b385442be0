"""Imports one file: reads, sends several pieces at once, and settles them in the file's order.

Whatever happens in between, the same command finishes the work: each post has an id that its row
always gets, so nothing is stored twice, and a file beside the errors says how far all is settled.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from heed_cli.exchange.checking import Checker, check
from heed_cli.exchange.faults import FaultFile
from heed_cli.exchange.formats import Format, require_columns
from heed_cli.exchange.posts import MISSHAPEN, Origin
from heed_cli.exchange.reading import Watch, read_rows
from heed_cli.exchange.resuming import Attempt, Tally
from heed_cli.exchange.rows import Row
from heed_cli.exchange.sending import Item, Outcome, Sender, to_item
from shared.errors import Detail, InvalidInput

PIECE_ITEMS = 500
IN_FLIGHT = 6
_STORED, _KNOWN = 201, 200
_MISSHAPEN = Detail("", "misshapen", "A value is not of the shape this format has; correct the row")


@dataclass
class Piece:
    """Some rows of the file that are settled together."""

    last: int = 0
    rows: int = 0
    items: list[Item] = field(default_factory=list)
    places: dict[int, str] = field(default_factory=dict)
    faults: list[tuple[int, str, Detail]] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """The file to import, and how its rows become posts."""

    path: Path
    format: Format
    origin: Origin
    watch: Watch

    def pieces(self, after: int) -> Iterator[Piece]:
        """The rows behind a place in the file, a few hundred posts at a time.

        Raises:
            InvalidInput: the file cannot be read, is empty, or is of another format.
        """
        piece = Piece()
        for row in self._rows():
            if row.number <= after:
                continue
            self._add(piece, row)
            if len(piece.items) + len(piece.faults) >= PIECE_ITEMS:
                yield piece
                piece = Piece()
        if piece.rows:
            yield piece

    def _rows(self) -> Iterator[Row]:
        is_empty, is_checked = True, False
        for row in read_rows(self.path, self.watch):
            if row.fault is None and not is_checked:
                require_columns(self.format, row.place, row.values)
                is_checked = True
            is_empty = False
            yield row
        if is_empty:
            raise InvalidInput(f"{self.path} has no rows.")

    def _add(self, piece: Piece, row: Row) -> None:
        piece.rows += 1
        piece.last = row.number
        if row.fault is not None:
            piece.faults.append((row.number, row.place, row.fault))
            return
        try:
            posts = list(self.format.read(row.values))
            stamped = self.origin.stamp(row.number, row.values, posts)
            items = [to_item(row.number, post) for post in stamped]
        except InvalidInput as error:
            detail = error.errors[0] if error.errors else Detail("", error.code, error.detail)
            piece.faults.append((row.number, row.place, detail))
            return
        except MISSHAPEN:
            piece.faults.append((row.number, row.place, _MISSHAPEN))
            return
        if wrong := _wrong_part(items):
            piece.faults += [(row.number, row.place, detail) for detail in wrong]
            return
        piece.items += items
        piece.places[row.number] = row.place


def _wrong_part(items: list[Item]) -> list[Detail]:
    """What is wrong with the first wrong post of several.

    A row of which some posts are stored and others refused would be stored in part once more
    after its correction, so nothing of it is sent.
    """
    if len(items) < 2:
        return []
    outcomes = (check(item) for item in items)
    return next((_details(outcome) for outcome in outcomes if outcome.problem is not None), [])


async def import_file(
    source: Source, sender: Sender | Checker, attempt: Attempt, on_settled: Callable[[Tally], None]
) -> Tally:
    """What became of all rows, those of earlier attempts included.

    Raises:
        HeedError: the file cannot be read further, or the API stays away; what is settled is kept.
    """
    with attempt.open_faults() as faults:
        attempt.save(faults)
        try:
            async with aclosing(_settled(source, sender, attempt.settled_to)) as pieces:
                async for piece, outcomes in pieces:
                    count(attempt.tally, piece, outcomes, faults)
                    attempt.settle(piece.last, faults)
                    on_settled(attempt.tally)
        finally:
            attempt.save(faults)
    return attempt.tally


async def _settled(
    source: Source, sender: Sender | Checker, after: int
) -> AsyncGenerator[tuple[Piece, list[Outcome]], None]:
    waiting: deque[tuple[Piece, asyncio.Task[list[Outcome]]]] = deque()
    try:
        for piece in source.pieces(after):
            waiting.append((piece, asyncio.create_task(sender.send(piece.items))))
            await asyncio.sleep(0)  # lets it go out while the next piece is read
            if len(waiting) == IN_FLIGHT:
                sent, task = waiting.popleft()
                yield sent, await task
        while waiting:
            sent, task = waiting.popleft()
            yield sent, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


def count(tally: Tally, piece: Piece, outcomes: list[Outcome], faults: FaultFile) -> None:
    """Add a piece to the tally, and its refusals to the file of faults, in the order of rows.

    A row is refused when any of its posts is, stored when any of them is new, else known.
    """
    refused: list[tuple[int, str, Detail]] = list(piece.faults)
    new: set[int] = set()
    bad = {number for number, _, _ in piece.faults}
    for outcome in outcomes:
        number = outcome.item.number
        if outcome.status == _STORED:
            new.add(number)
        elif outcome.status != _KNOWN:
            bad.add(number)
            details = _details(outcome)
            refused += [(number, piece.places[number], detail) for detail in details]
    tally.rows += piece.rows
    tally.posts += sum(outcome.status == _STORED for outcome in outcomes)
    tally.refused += len(bad)
    tally.stored += len(new - bad)
    tally.repeated += piece.rows - len(bad) - len(new - bad)
    faults.add(sorted(refused, key=lambda fault: fault[0]))


def _details(outcome: Outcome) -> list[Detail]:
    problem = outcome.problem or {}
    if errors := problem.get("errors"):
        return [Detail(one["pointer"], one["code"], one["detail"]) for one in errors]
    detail = str(problem.get("detail", f"The reply was {outcome.status}."))
    return [Detail("", str(problem.get("code", outcome.status)), detail)]
