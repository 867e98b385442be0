"""How a process of the trainer ends, by which the worker knows whether its run may wait."""

import pytest

from services.trainer.execution import EXIT_UNAVAILABLE
from services.trainer.processes import ending_in_one_line
from shared.errors import (
    ConfigError,
    DatabaseUnavailable,
    HeedError,
    SchemaOutdated,
    StoreUnavailable,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseUnavailable("no Postgres"), EXIT_UNAVAILABLE),
        (StoreUnavailable("no bucket"), EXIT_UNAVAILABLE),
        (SchemaOutdated("run heed migrate"), EXIT_UNAVAILABLE),
        (Unavailable("the reward is not a number"), 1),
        (ConfigError("a wrong setting"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HeedError) else None,
)
def test_what_is_away_for_now_costs_a_run_no_attempt(error: HeedError, status: int, capsys):
    def role() -> int:
        raise error

    assert ending_in_one_line(role) == status
    assert capsys.readouterr().err == f"heed trainer: {error.detail}\n"
