"""Names and paths reach the terminal as they are, whatever Rich would make of them."""

import pytest

from heed_cli import terminal
from heed_cli.demo.report import Latency, Report

NAMES = ["web [prod]", "x[/red]", "[bold]b", "C:\\[old]\\", ":smile: [link=x]"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "tell", [terminal.say, terminal.hint, terminal.fail, lambda name: terminal.title("heed", name)]
)
def test_every_line_shows_a_name_as_it_is(capsys, tell, name):
    tell(name)

    said = capsys.readouterr()
    assert name in said.out + said.err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tell", [terminal.done, terminal.note, terminal.fault])
def test_every_marked_line_shows_a_name_as_it_is(capsys, tell, name):
    tell(name, name)

    assert capsys.readouterr().out.count(name) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_the_demo_shows_the_name_of_a_model_as_it_is(capsys, name):
    Report(
        source="",
        left_out=0,
        seconds=0,
        gate_margin=0,
        rounds=[],
        latency=Latency(10, 1, 1, 1),
        requests=0,
        failed_requests=0,
        background_requests=0,
        background_failed=0,
        background_models=[name],
        card="",
        plots=[],
        data_dir="",
    ).show()

    assert name in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_listed_under_the_name_it_was_given(migrated, name):
    migrated.done("keys", "create", name)

    assert name in migrated.done("keys", "list")


def test_a_dataset_keeps_the_brackets_of_its_name(migrated):
    migrated.done("dataset", "prepare", "--min-pairs", "0", "--name", "all [raw]")

    assert "all [raw]" in migrated.done("dataset", "list")


def test_a_folder_with_brackets_is_named_whole(heed):
    folder = heed.home / "data [old] [/red]"

    said = heed.done("up", "--data-dir", folder)

    assert f"kept in {folder}/dev.key" in said
    assert f"heed up · {folder}" in said
    assert str(folder) in heed("doctor", "--data-dir", folder).stdout
