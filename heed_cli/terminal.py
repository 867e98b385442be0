"""How the `heed` command speaks: short lines with one mark each, errors on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)
_NAME_WIDTH = 15


def done(name: str, text: str) -> None:
    """One thing that is as it should be."""
    _line("[green]✓[/green]", name, text)


def note(name: str, text: str) -> None:
    """One thing that works but wants attention."""
    _line("[yellow]![/yellow]", name, text)


def fault(name: str, text: str) -> None:
    """One thing that does not work."""
    _line("[red]✗[/red]", name, text)


def say(text: str = "") -> None:
    """One line of plain text, never wrapped, so that it can be copied."""
    console.print(text, soft_wrap=True)


def fail(message: str) -> None:
    """The one line that says why a command stops."""
    _errors.print(f"[red]heed:[/red] {escape(message)}")


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner while something takes its time; nothing when nobody watches."""
    with console.status(text):
        yield


def _line(mark: str, name: str, text: str) -> None:
    console.print(f"  {mark} {escape(f'{name:<{_NAME_WIDTH}} {text}')}", soft_wrap=True)
