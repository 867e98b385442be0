"""`heed models add`: a reward model that was made elsewhere, as a version like any other."""

from typing import Annotated, Literal

import typer

from heed_cli.services import DataDir
from heed_cli.terminal import done, note
from heed_cli.training_requests import MinRated, Name, report, request_of, train_with_bar
from heed_cli.workplace import at_workplace, trainer_settings
from shared.contracts.training import RunKind

_NOT_JUDGED = (
    "there is too little feedback here to judge it: promoting it needs --reason, and its score is "
    "the sigmoid of its reward; add it again when there is more"
)


def add(
    model: Annotated[str, typer.Argument(help="A folder or a hub id: a classifier, one output.")],
    *,
    name: Name = "reward",
    template: Annotated[
        Literal["chat", "pair"] | None,
        typer.Option(help="How it reads; without: by its chat template, if it has one."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Window of prompt and response.")] = 2048,
    good_rating: Annotated[
        float, typer.Option(min=1, max=5, help="A response is good from so many stars on.")
    ] = 4.0,
    min_rated: MinRated = None,
    data_dir: DataDir = None,
) -> None:
    """Add a reward model that was made elsewhere; calibrated and gated on the feedback here."""
    recipe = {
        "model": model,
        "template": template,
        "max_tokens": max_tokens,
        "good_rating": good_rating,
        "min_rated": min_rated,
    }
    request = request_of(RunKind.REWARD_ADDED, recipe, None, name)
    from services.trainer.adding import add_unjudged, can_be_judged

    if at_workplace(data_dir, lambda workplace: can_be_judged(workplace, request)):
        report(train_with_bar(request, trainer_settings(data_dir)))
        return
    version = at_workplace(data_dir, lambda workplace: add_unjudged(workplace, request))
    done("model", f"{version.name} version {version.version}")
    note("not judged", _NOT_JUDGED)
