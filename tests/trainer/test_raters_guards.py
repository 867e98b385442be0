"""Guards against crowding: planted bursts and outliers are found, honest weeks are left alone."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from services.trainer.datasets import Evidence
from services.trainer.examples import RankedResponses, RatedResponse, RewardDataset
from services.trainer.raters.agreement import agreement_by
from services.trainer.raters.bursts import find_bursts
from services.trainer.raters.judgements import of_everything, opinions
from services.trainer.raters.outliers import agreement_with_others
from services.trainer.raters.posts import Post, collect_posts
from services.trainer.raters.report import report_raters
from services.trainer.raters.weights import weigh_raters

DAY, HOUR = 86_400.0, 3600.0


def honest_posts(rng: np.random.Generator, raters: int = 60, days: int = 60) -> list[Post]:
    """Raters who join over time and post in sittings by day, on four agents."""
    posts = []
    for rater in range(raters):
        joined = rng.random() * 0.8 * days
        for sitting in range(rng.integers(1, 12)):
            day = np.floor(joined + rng.random() * (days - joined))
            begins = day * DAY + (9 + 2.5 * rng.normal()) * HOUR
            for at in begins + np.cumsum(
                rng.exponential(180, size=1 + rng.negative_binomial(1, 0.15))
            ):
                target = int(rng.integers(2000)).to_bytes(2, "big")
                row = f"{rater}/{sitting}/{at}"
                posts.append(Post(row, f"rater {rater}", target, f"agent {rng.integers(4)}", at))
    return in_order(posts)


def in_order(posts: Iterable[Post]) -> list[Post]:
    return sorted(posts, key=lambda post: post.at)


def brigade(at: float, *, agent: str | None, target: bytes | None, size: int = 25) -> list[Post]:
    """Newcomers who all post within half an hour."""
    return [
        Post(f"b{n}", f"new {n}", target or n.to_bytes(3, "big"), agent, at + 70.0 * n)
        for n in range(size)
    ]


def test_honest_weeks_are_called_a_burst_less_often_than_one_in_a_hundred():
    rng = np.random.default_rng(0)

    assert sum(bool(find_bursts(honest_posts(rng, raters=30))) for _ in range(40)) <= 1


def test_a_busy_hour_of_every_agent_is_nobodys_burst():
    posts = honest_posts(np.random.default_rng(1))
    launch = [
        Post(f"l{n}", f"invited {n}", n.to_bytes(3, "big"), f"agent {n % 4}", 30 * DAY + 20.0 * n)
        for n in range(120)
    ]

    assert [burst.kind for burst in find_bursts(in_order(posts + launch))] == []


@pytest.mark.parametrize("seed", range(3))
def test_newcomers_who_crowd_on_one_agent_are_found_with_their_posts(seed):
    posts = honest_posts(np.random.default_rng(seed))
    crowd = brigade(30.2 * DAY, agent="agent 1", target=None)

    [burst] = find_bursts(in_order(posts + crowd))

    assert (burst.kind, burst.name) == ("agent", "agent 1")
    assert set(burst.row_ids) >= {post.row_id for post in crowd}
    assert burst.p_value < 1e-3
    assert burst.expected < 5 < burst.posts


def test_a_second_crowd_on_the_same_agent_is_found_beside_the_first():
    posts = honest_posts(np.random.default_rng(0))
    first = brigade(30.2 * DAY, agent="agent 1", target=None)
    second = [
        Post(f"again {post.row_id}", f"again {post.rater}", post.target, post.agent, post.at + DAY)
        for post in first
    ]

    found = find_bursts(in_order(posts + first + second))

    assert [(burst.kind, burst.name) for burst in found] == [("agent", "agent 1")] * 2
    assert {burst.starts[:10] for burst in found} == {"1970-01-31", "1970-02-01"}


def test_newcomers_who_crowd_on_one_response_are_found():
    posts = honest_posts(np.random.default_rng(3))
    crowd = brigade(30 * DAY, agent=None, target=b"one")

    [burst] = find_bursts(in_order(posts + crowd))

    assert (burst.kind, burst.posts) == ("response", 25)
    assert burst.raters == sorted(post.rater for post in crowd)


def test_one_rater_far_above_everybodys_pace_is_found():
    posts = [
        Post(f"{rater}/{day}/{n}", f"rater {rater}", bytes([rater, day, n]), "a", DAY * day + n)
        for rater in range(20) for day in range(20) for n in range(1 + (rater + day) % 4)
    ]  # fmt: skip
    spree = [Post(f"s{n}", "rater 3", b"s%d" % n, "a", 9.5 * DAY + 5.0 * n) for n in range(200)]

    [burst] = find_bursts(in_order(posts + spree))

    assert (burst.kind, burst.name, burst.posts) == ("rater", "rater 3", 200)
    assert 1 < burst.expected < 5


def test_no_posts_are_no_burst():
    assert find_bursts([]) == []


def rated(prompt: int, rater: str, stars: float, at: float, agent: str = "a") -> RatedResponse:
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return RatedResponse(
        f"prompt {prompt}", "r", stars, f"{prompt:04x}", f"{rater} {prompt}",
        slices={"agent": agent}, rater=rater, at=moment,
    )  # fmt: skip


def team(rng: np.random.Generator, prompts: int = 60) -> list[RatedResponse]:
    """Three careful raters, one with dice, who all rate everything over sixty days."""
    latent = rng.normal(size=prompts)
    seen = {rater: latent + rng.normal(size=prompts) / 3 for rater in ("one", "two", "three")} | {
        "dice": rng.normal(size=prompts)
    }
    return [
        rated(prompt, rater, 1.0 + np.digitize(values[prompt], [-1.5, -0.5, 0.5, 1.5]),
              prompt * DAY, "early" if prompt < 30 else "late")
        for rater, values in seen.items() for prompt in range(prompts)
    ]  # fmt: skip


def test_agreement_with_others_is_1_for_who_always_agree_and_about_0_for_dice():
    alike = [rated(at, rater, 1.0 + at % 5, 0.0) for at in range(50) for rater in "ab"]

    found = agreement_with_others(opinions(Evidence(rated=alike)))
    planted = agreement_with_others(opinions(Evidence(rated=team(np.random.default_rng(0), 150))))

    assert (found["a"].agreement, found["a"].is_outlier) == (1.0, False)
    assert planted["dice"].agreement == pytest.approx(0.0, abs=0.3)
    assert planted["dice"].low < planted["dice"].agreement < planted["dice"].high
    assert [rater for rater, one in planted.items() if one.is_outlier] == ["dice"]


def test_of_raters_who_are_all_alike_hardly_anybody_is_an_outlier():
    rng = np.random.default_rng(5)
    outlying = 0

    for _ in range(30):
        latent = rng.normal(size=40)
        said = [
            rated(at, f"r{rater}", 1.0 + np.digitize(latent[at] + rng.normal(), [-1, 0, 1]), 0.0)
            for rater in range(12) for at in range(40)
        ]  # fmt: skip
        found = agreement_with_others(opinions(Evidence(rated=said)))
        outlying += any(one.is_outlier for one in found.values())

    assert outlying <= 1


def test_the_interval_of_a_rater_knows_that_choices_from_one_ranking_vary_together():
    rng = np.random.default_rng(10)
    found = []
    for _ in range(20):
        seen = rng.normal(size=(10, 1, 8)) + rng.normal(size=(10, 12, 8))
        rankings = [
            RankedResponses(f"prompt {at}", tuple(map(str, np.argsort(seen[at, who]))),
                            f"{at:02x}", f"{who} {at}", rater=f"{who}")
            for at in range(10) for who in range(12)
        ]  # fmt: skip
        found += agreement_with_others(opinions(Evidence(rankings=rankings))).values()

    truth = np.mean([one.agreement for one in found])
    held = np.mean([one.low <= truth <= one.high for one in found])

    assert found[0].judgements == 280
    assert 0.9 < held < 0.99


def test_a_rater_alone_has_no_agreement_with_others():
    assert agreement_with_others(opinions(Evidence(rated=[rated(1, "a", 5.0, 0.0)]))) == {}


def test_a_brigade_counts_for_as_much_as_was_to_be_expected_without_it():
    rng = np.random.default_rng(0)
    honest = [
        rated(30 * rater + at, f"rater {rater}", float(rng.integers(1, 6)), DAY * rng.random() * 60)
        for rater in range(40) for at in range(30)
    ]  # fmt: skip
    crowd = [rated(9000, f"new {n}", 1.0, 30 * DAY + 10.0 * n, "target") for n in range(40)]

    weighed = weigh_raters(Evidence(rated=honest + crowd))

    assert sum(weighed.weights[one.rater or ""] for one in crowd) < 2
    assert min(weighed.weights[f"rater {n}"] for n in range(40)) > 0.95
    assert weighed.metrics["raters_in_bursts"] == 40
    assert weighed.metrics["judgements_kept"] == pytest.approx(1200 / 1240, abs=0.01)


def busy_weeks() -> list[RatedResponse]:
    """Forty honest raters over sixty days."""
    rng = np.random.default_rng(0)
    return [
        rated(30 * rater + at, f"rater {rater}", float(rng.integers(1, 6)), DAY * rng.random() * 60)
        for rater in range(40) for at in range(30)
    ]  # fmt: skip


@pytest.mark.parametrize("posts_each", [3, 6])
def test_a_brigade_gains_nothing_by_posting_several_times_on_an_agent(posts_each):
    crowd = [
        rated(9000 + 10 * n + at, f"new {n}", 1.0, 30 * DAY + 60.0 * n + 200.0 * at, "target")
        for n in range(40) for at in range(posts_each)
    ]  # fmt: skip

    weighed = weigh_raters(Evidence(rated=busy_weeks() + crowd))

    assert max(weighed.weights[f"new {n}"] for n in range(40)) < 0.1


def test_a_brigade_gains_nothing_by_judging_three_responses_instead_of_one():
    crowd = [
        rated(9000 + at, f"new {n}", 1.0, 30 * DAY + 10.0 * n + 1000.0 * at, f"agent {at}")
        for n in range(40) for at in range(3)
    ]  # fmt: skip
    unnamed = [replace(one, slices={}) for one in crowd]

    weighed = weigh_raters(Evidence(rated=busy_weeks() + unnamed))

    assert max(weighed.weights[f"new {n}"] for n in range(40)) < 0.1


def test_every_spree_of_one_rater_is_cut_down():
    sprees = [
        rated(9000 + 300 * day + at, "rater 3", 5.0, DAY * (10 * day + 0.5) + at)
        for day in range(3) for at in range(300)
    ]  # fmt: skip

    weighed = weigh_raters(Evidence(rated=busy_weeks() + sprees))

    assert [burst.name for burst in weighed.bursts] == ["rater 3"] * 3
    assert weighed.weights["rater 3"] * (900 + 30) < 45


def test_the_report_names_raters_and_rows_and_no_text():
    said = team(np.random.default_rng(0), 300)
    crowd = [rated(9000, f"new {n}", 1.0, 30 * DAY + 10.0 * n, "target") for n in range(40)]

    report = report_raters(Evidence(rated=said + crowd))

    lines = {line.rater: line for line in report.raters}
    assert lines["dice"].flags == ("unreliable", "outlier")
    assert lines["one"].flags == ()
    assert lines["new 3"].flags == ("burst",)
    assert lines["one"].judgements == 300
    assert lines["one"].share == pytest.approx(300 / 1240)
    assert "prompt" not in json.dumps(report.as_json())


def test_agreement_is_measured_overall_by_slice_and_by_month():
    said = opinions(Evidence(rated=team(np.random.default_rng(0))))

    [overall] = agreement_by(said, resamples=50)
    by_agent = agreement_by(said, "agent", resamples=50)
    by_month = agreement_by(said, "month", resamples=50)
    by_week = agreement_by(said, "week", resamples=50)

    assert (overall.kind, overall.name, overall.agreement.units) == ("stars", "", 60)
    assert [(one.name, one.agreement.units) for one in by_agent] == [("early", 30), ("late", 30)]
    assert [(one.name, one.agreement.units) for one in by_month] == [
        ("1970-01", 31), ("1970-02", 28), ("1970-03", 1),
    ]  # fmt: skip
    assert by_week[0].name == "1970-W01"
    assert overall.kappa is not None
    assert 0.3 < overall.kappa < 0.9


def test_a_unit_belongs_to_the_month_in_which_it_was_last_judged():
    said = [rated(at, "a", 4.0, 5 * DAY) for at in range(5)]
    said += [rated(at, "b", 4.0 + at % 2, 40 * DAY) for at in range(5)]

    [found] = agreement_by(opinions(Evidence(rated=said)), "month")

    assert (found.name, found.agreement.units) == ("1970-02", 5)


def test_opinions_without_the_slice_are_left_out():
    assert agreement_by(opinions(Evidence(rated=team(np.random.default_rng(0)))), "task") == []


def test_both_sides_of_a_dataset_can_be_looked_at():
    one, two = rated(1, "a", 5.0, 0.0), rated(2, "a", 4.0, 0.0)

    assert of_everything(RewardDataset([], [], [one], [two], "hash")).rated == [one, two]


def test_posts_without_a_rater_or_a_time_are_not_guarded():
    unknown = RatedResponse("p", "r", 4.0, "00", "row", at="2026-01-01T00:00:00+00:00")
    timeless = RatedResponse("p", "r", 4.0, "00", "row", rater="a")

    assert collect_posts(Evidence(rated=[unknown, timeless])) == []
