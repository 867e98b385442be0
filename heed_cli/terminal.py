"""How the `heed` command speaks: short lines with one mark each, errors on standard error.

Names and paths are people's: nothing here reads markup or emoji codes in what it is given.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)
_NAME_WIDTH = 15


def done(name: str, text: str) -> None:
    """One thing that is as it should be."""
    _line(Text("✓", "green"), name, text)


def note(name: str, text: str) -> None:
    """One thing that works but wants attention."""
    _line(Text("!", "yellow"), name, text)


def fault(name: str, text: str) -> None:
    """One thing that does not work."""
    _line(Text("✗", "red"), name, text)


def say(text: str = "") -> None:
    """One line of plain text, never wrapped, so that it can be copied."""
    console.print(Text(text), soft_wrap=True)


def title(command: str, text: str) -> None:
    """The line that a command with many steps begins with."""
    console.print(Text.assemble((command, "bold"), f" · {text}"), soft_wrap=True)


def hint(text: str) -> None:
    """A line that matters less."""
    console.print(Text(text, "dim"), soft_wrap=True)


def cells(*values: str | Text) -> Iterator[Text]:
    """The cells of a table row as they are written; a `Text` keeps its colour."""
    return (value if isinstance(value, Text) else Text(value) for value in values)


def fail(message: str) -> None:
    """The one line that says why a command stops."""
    _errors.print(Text.assemble(("heed:", "red"), f" {message}"), soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """A spinner while something takes its time; what it yields changes its text."""
    with console.status(Text(text)) as status:
        yield lambda changed: status.update(Text(changed))


def _line(mark: Text, name: str, text: str) -> None:
    console.print(Text.assemble("  ", mark, f" {name:<{_NAME_WIDTH}} {text}"), soft_wrap=True)
