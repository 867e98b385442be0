"""`heed settings`: every environment variable Heed reads, from the classes that read it."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table

from heed_cli.terminal import cells
from shared.config import Settings

MODULES = {
    "every service": "shared.config",
    "feedback_api": "services.feedback_api.config",
    "reward_service": "services.reward_service.config",
    "trainer": "services.trainer.config",
}
app = typer.Typer()


@dataclass(frozen=True)
class Setting:
    """One environment variable: who reads it, its default as text, what it means."""

    variable: str
    reader: str
    default: str
    meaning: str


def known_settings() -> Iterator[Setting]:
    """Every setting once, those that all services share first."""
    seen: set[str] = set()
    for reader, module in MODULES.items():
        for kind in _settings_classes(module):
            for name, field in kind.model_fields.items():
                variable = f"{kind.model_config.get('env_prefix', '')}{name}".upper()
                if variable not in seen:
                    seen.add(variable)
                    default = _shown(field.default)
                    yield Setting(variable, reader, default, field.description or "")


def _settings_classes(module: str) -> list[type[Settings]]:
    loaded = importlib.import_module(module)
    kinds = [kind for kind in vars(loaded).values() if isinstance(kind, type)]
    return [k for k in kinds if issubclass(k, Settings) and k.__module__ == module]


def _shown(default: object) -> str:
    if default is None or default is PydanticUndefined or default == "":
        return ""
    if isinstance(default, Path):
        return default.as_posix()
    return str(default).lower() if isinstance(default, bool) else str(default)


def markdown() -> str:
    """The settings as the tables of docs/configuration.md, a heading per reader."""
    lines: list[str] = []
    reader = ""
    for setting in known_settings():
        if setting.reader != reader:
            reader = setting.reader
            lines += ["", f"## {reader}", "", "| variable | default | meaning |", "|---|---|---|"]
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(f"| `{setting.variable}` | {default} | {setting.meaning} |")
    return "\n".join(lines) + "\n"


@app.callback(invoke_without_command=True)
def settings(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of docs/configuration.md.")
    ] = False,
) -> None:
    """List every environment variable Heed reads, with its default and meaning."""
    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    table = Table("variable", "default", "meaning", box=None, pad_edge=False)
    for setting in known_settings():
        table.add_row(*cells(setting.variable, setting.default, setting.meaning))
    Console().print(table)
