"""The report's page and files: safe, whole, and without a text where nobody may read one."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.simulated_policies import Simulated, simulated_report

from services.trainer.policies.page import ReadSample, headline, page
from services.trainer.policies.report import write_report
from shared.contracts.policy_report import PolicyReport, Sample

SAME, BETTER = Simulated(), Simulated(reward=1.0, gold=0.6)
HISTORY = [
    {"step": at, "reward": 0.1 * at, "kl": 0.05 * at, "loss": 1 / (1 + at)} for at in range(1, 9)
]
EVIL = '<script>alert("x")</script> & </p><img src=https://elsewhere.example/x>'


@pytest.fixture(scope="module")
def report() -> PolicyReport:
    found = simulated_report(SAME, BETTER, prompts=20)
    return found.model_copy(update={"samples": [Sample(row=3, why="drawn", sealed="c2VhbGVk")]})


def test_texts_are_shown_as_they_are_written_and_run_nothing(report):
    read = ReadSample(report.samples[0], report.rows[3], EVIL, EVIL, "")

    shown = page(report, [read], title=EVIL)

    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("&lt;script&gt;") == 4
    assert "default-src 'none'" in shown


def test_the_page_needs_nothing_from_elsewhere(report):
    shown = page(report.model_copy(update={"history": HISTORY}), [])

    assert not re.search(r"https?://|url\(|@import|<link|src=", shown)


def test_every_picture_is_well_formed(report):
    shown = page(report.model_copy(update={"history": HISTORY}), [])

    pictures = re.findall(r"<svg.*?</svg>", shown)
    assert len(pictures) == 7
    for picture in pictures:
        ET.fromstring(picture)
        assert "nan" not in picture


def test_constant_numbers_are_drawn_too():
    found = simulated_report(SAME, SAME, prompts=4)
    same = [row.model_copy(update={"after": row.before}) for row in found.rows[:1] * 4]

    shown = page(found.model_copy(update={"rows": same}), [])

    assert "nan" not in re.sub(r"<style>.*</style>", "", shown)


def test_a_stage_gets_numbers_page_and_plot_without_texts(report, tmp_path: Path):
    write_report(tmp_path, report, [*HISTORY[:-1], HISTORY[-1] | {"clipped": float("nan")}])

    stored = PolicyReport.model_validate_json((tmp_path / "policy_report.json").read_bytes())
    assert stored.history == HISTORY
    assert stored.alarms == report.alarms
    shown = (tmp_path / "policy_report.html").read_text()
    assert "heed policy report VERSION" in shown
    assert (tmp_path / "training_progress.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_logged_nothing_has_a_plot_that_says_so(report, tmp_path: Path):
    write_report(tmp_path, report, [])

    assert (tmp_path / "training_progress.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BETTER, "The reward is surely higher than before"),
        (SAME, "No change of the reward can be shown"),
        (Simulated(reward=-2.0, gold=-1.0), "The reward is surely lower than before"),
        (Simulated(reward=2.0, gold=-1.0), "The improvement is suspicious"),
    ],
)
def test_the_headline_says_what_was_found(after: Simulated, expected: str):
    assert headline(simulated_report(SAME, after, seed=3)).startswith(expected)
