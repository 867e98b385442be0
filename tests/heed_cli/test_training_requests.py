"""What a command asks of whoever trains, who may be started elsewhere."""

import pytest

from heed_cli.schedule_words import parameters
from heed_cli.training_requests import request_of
from shared.contracts.training import RunKind


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which the command is typed; there is a model in it."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(**recipe: object) -> dict[str, object]:
    return request_of(RunKind.PPO, recipe, None, "policy").recipe


def test_a_folder_of_a_model_is_found_from_anywhere(here):
    recipe = asked(base_model="mine", gold="./mine", reward=["mine*0.5", "mine"])

    assert recipe == {
        "base_model": f"{here}/mine",
        "gold": f"{here}/mine",
        "reward": [f"{here}/mine*0.5", f"{here}/mine"],
    }
    assert parameters(["base_model=mine"]) == {"base_model": f"{here}/mine"}


def test_what_names_no_folder_stays_as_it_is(here):
    (here / "all-MiniLM-L6-v2").mkdir()  # the installed encoder is meant wherever one is
    given = {
        "base_model": "all-MiniLM-L6-v2",
        "gold": "org/model",
        "reward": ["reward@champion*2", "length:20-120", "https://rewards.internal/score"],
        "template": "mine",
    }

    assert asked(**given) == given
