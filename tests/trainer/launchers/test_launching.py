"""Which launcher a run is given to, what the processes are told, and what is refused."""

import os
import pickle
from types import SimpleNamespace

import pytest

from services.trainer.config import LauncherKind, TrainerSettings
from services.trainer.execution import EXIT_REFUSED
from services.trainer.launchers import world
from services.trainer.launchers.launching import Unit, launcher_of, require_alone
from services.trainer.launchers.torchrun import Torchrun, _status
from services.trainer.progress import Reporter, track
from services.trainer.trackers import _Forgiving, open_tracker, require_tracker
from shared.contracts.training import RunKind
from shared.errors import ConfigError


@pytest.fixture
def place(monkeypatch):
    """What torchrun would tell this process."""

    def tell(**given: str) -> None:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        world.place.cache_clear()

    yield tell
    monkeypatch.undo()
    world.place.cache_clear()


def test_one_process_is_a_world_in_which_nothing_waits_for_anybody():
    world.join(1)
    world.hand_out(None)
    with world.main_first():
        assert world.is_main()
    assert world.anyone(is_so=True)
    world.leave_the_rest_to_main()


def test_accelerates_single_process_is_refused_where_two_were_asked_for(place):
    place(RANK="0", WORLD_SIZE="1")

    with pytest.raises(ConfigError, match="2 processes were asked for and there are 1"):
        world.join(2)


def test_a_trainer_that_knows_of_fewer_processes_than_there_are_is_refused(place):
    place(RANK="1", WORLD_SIZE="2")

    assert not world.is_main()
    with pytest.raises(ConfigError, match="torchrun"):
        world.require_joined(1)


def test_several_processes_need_a_launcher():
    with pytest.raises(ConfigError, match="torchrun or ray"):
        launcher_of(TrainerSettings(launch_processes=2))


def test_a_process_that_was_launched_launches_nothing(place):
    place(RANK="0", WORLD_SIZE="2")

    settings = TrainerSettings(launcher=LauncherKind.TORCHRUN, launch_processes=2)

    assert launcher_of(settings) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"launch_hosts": 2}, "HEED_LAUNCH_RENDEZVOUS"),
        ({"launch_hosts": 2, "launch_host": 2, "launch_rendezvous": "a:1"}, "counted from 0"),
    ],
)
def test_hosts_that_cannot_meet_are_refused(given: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        Torchrun(TrainerSettings(launcher=LauncherKind.TORCHRUN, **given))


def test_host_0_holds_rank_0_wherever_the_hosts_meet():
    settings = TrainerSettings(
        launcher=LauncherKind.TORCHRUN, launch_processes=4, launch_hosts=3, launch_host=1,
        launch_rendezvous="head:29400",
    )  # fmt: skip

    config = Torchrun(settings)._config()

    assert config["rdzv_backend"] == "static"
    assert config["rdzv_configs"]["rank"] == 1
    assert (config["min_nodes"], config["nproc_per_node"], config["max_restarts"]) == (3, 4, 0)


def test_how_the_main_process_ended_counts_before_those_that_failed_after_it():
    failed = {at: SimpleNamespace(exitcode=code) for at, code in ((0, EXIT_REFUSED), (1, 1))}

    assert _status(failed) == EXIT_REFUSED
    assert _status({1: SimpleNamespace(exitcode=-9)}) == 1


def test_the_command_of_every_process_is_the_same_whoever_starts_it():
    unit = Unit(("--run", "7", "--attempt", "2"))

    assert unit.command[1:] == ["-m", "services.trainer", "--run", "7", "--attempt", "2"]


def test_what_is_handed_out_may_hold_read_only_mappings():
    from services.trainer.examples import PreferencePair

    pair = PreferencePair("p", "c", "r", "g", slices={"agent": "a"})

    assert pickle.loads(pickle.dumps(pair)) == pair


def test_a_missing_tracker_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr("services.trainer.trackers.find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r'pip install "heed-rlhf\[trackers\]"'):
        require_tracker("wandb")
    with pytest.raises(ConfigError, match="none of tensorboard, mlflow, wandb"):
        require_tracker("comet")
    assert open_tracker("none", os.devnull, "run") is None


def test_a_tracker_that_fails_is_forgiven_and_not_asked_again():
    asked = []

    class Away:
        def log(self, step, numbers):
            asked.append((step, dict(numbers)))
            raise ConnectionError

        def close(self):
            """Nothing is kept."""

    reporter = Reporter(tracker=_Forgiving("mlflow", Away()))
    for step in (3, 4):
        track(reporter, step, {"loss": 0.5})

    assert asked == [(3, {"loss": 0.5})]


def test_a_terminal_does_not_train_alone_what_is_to_be_trained_by_several():
    settings = TrainerSettings(launcher=LauncherKind.TORCHRUN, launch_processes=2)

    with pytest.raises(ConfigError, match="add --queue"):
        require_alone(settings, RunKind.SFT)
    require_alone(settings, RunKind.REWARD_EMBEDDING)
