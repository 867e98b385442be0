import numpy as np
import pytest

from services.trainer.audit.auditing import Auditing, audit_model
from services.trainer.audit.held_out import Compared, Rewards
from services.trainer.audit.population import read_population
from services.trainer.audit.slices import (
    audit_fairness,
    audit_representation,
    audit_slices,
    slice_metrics,
)
from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedResponse,
    RatedStep,
    RewardDataset,
    TiedPair,
)
from shared.errors import InvalidInput


def pair(at: int, region: str, **slices: str) -> PreferencePair:
    return PreferencePair(
        f"p{at}", "good", "bad", group=f"g{at}", slices={"region": region, **slices}
    )


def compared(pairs: list[PreferencePair], right: list[bool], scorer_of) -> Compared:
    hits = dict(zip((one.prompt for one in pairs), right, strict=True))
    scorer = scorer_of(lambda one: float((one.response == "good") == hits[one.prompt]))
    return Compared.of(pairs, Rewards(scorer))


def test_a_slice_in_which_the_model_fails_is_found_and_the_others_are_not(scorer_of):
    draw = np.random.default_rng(0)
    pairs = [pair(at, "north" if at < 100 else "south", day=str(at % 7)) for at in range(400)]
    right = [draw.random() < (0.4 if at < 100 else 0.8) for at in range(400)]

    slices, unnamed = audit_slices(compared(pairs, right, scorer_of))

    small = {(one.name, one.value) for one in slices if one.p_adjusted < 0.05}
    assert small == {("region", "north"), ("region", "south")}
    assert {one.pairs for one in slices if one.name == "region"} == {100, 300}
    assert unnamed == 0


def test_values_with_few_comparisons_are_counted_and_not_named(scorer_of):
    pairs = [pair(at, "north", person=f"name {at}") for at in range(60)]

    slices, unnamed = audit_slices(compared(pairs, [True] * 60, scorer_of))

    assert slices == []  # and `north` is all there is: it has nothing to be compared with
    assert unnamed == 60


def test_the_metrics_name_every_slice_with_its_interval(scorer_of):
    pairs = [pair(at, "north" if at % 2 else "south") for at in range(60)]
    slices, _ = audit_slices(compared(pairs, [at % 2 == 1 for at in range(60)], scorer_of))

    metrics = slice_metrics(slices)

    key = "slice/region=south/pair_accuracy"
    assert metrics[key] == 0.0
    assert metrics[f"{key}_low"] == 0.0 < metrics[f"{key}_high"] < 0.2
    assert metrics[f"{key}_pairs"] == 30


def test_the_gap_of_equally_good_slices_is_what_chance_gives(scorer_of):
    draw = np.random.default_rng(3)
    pairs = [pair(at, "abcd"[at % 4]) for at in range(400)]

    (gap,) = audit_fairness(compared(pairs, list(draw.random(400) < 0.7), scorer_of), seed=0)

    assert gap.p > 0.05
    assert gap.gap_if_equal == pytest.approx(0.094, abs=0.02)  # 2.06 · sqrt(0.21 / 100)


def test_the_interval_of_a_gap_covers_slices_that_are_equally_good(scorer_of):
    draw = np.random.default_rng(5)
    pairs = [pair(at, "abcdef"[at % 6]) for at in range(240)]

    gaps = [
        audit_fairness(compared(pairs, list(draw.random(240) < 0.7), scorer_of), seed=0)[0].gap
        for _ in range(40)
    ]

    assert all(gap.low <= gap.value <= gap.high for gap in gaps)
    assert sum(gap.low == 0.0 for gap in gaps) >= 36


def test_a_planted_gap_between_slices_is_found(scorer_of):
    draw = np.random.default_rng(4)
    pairs = [pair(at, "abcd"[at % 4]) for at in range(400)]
    right = [draw.random() < (0.4 if at % 4 == 2 else 0.8) for at in range(400)]

    (gap,) = audit_fairness(compared(pairs, right, scorer_of), seed=0)

    assert gap.worst == "c"
    assert gap.p < 0.01
    assert gap.gap.low < 0.4 < gap.gap.high


def test_feedback_is_held_against_the_population(tmp_path):
    path = tmp_path / "population.csv"
    path.write_text("slice,value,share\nregion,north,0.5\nregion,south,0.3\nregion,west,0.2\n")
    pairs = [pair(at, "north" if at < 150 else "south") for at in range(200)]
    dataset = RewardDataset(pairs[:160], pairs[160:], [], [], "sha256:test")

    found = audit_representation(dataset, read_population(path))

    assert [(one.value, one.feedback.value) for one in found] == [
        ("north", 0.75),
        ("south", 0.25),
        ("west", 0.0),
    ]
    assert [one.is_underrepresented for one in found] == [False, False, True]


def test_every_post_counts_once_for_whom_it_represents():
    """A ranking of four makes six comparisons, a rating some, a correction another judgement."""
    said = {"slices": {"region": "north"}}
    ranked = [
        PreferencePair("p", f"a{at}", "b", "g", source="ranking", row_ids=("r1",), **said)
        for at in range(6)
    ]
    ranking = RankedResponses("p", ("a", "b", "c", "d"), "g", "r1", **said)
    rating = RatedResponse("q", "a", 5.0, "h", "r2", **said)
    correction = PreferencePair("q", "b", "a", "h", source="correction", row_ids=("r2",), **said)
    derived = PreferencePair("q", "a", "c", "h", source="rating", row_ids=("r2", "r3"))
    tie = TiedPair("s", ("a", "b"), "tie", "i", "r4", slices={"region": "south"})
    step = RatedStep("s", ("a",), 1.0, "i", "r5", slices={"region": "south"})
    dataset = RewardDataset(
        [*ranked, derived], [correction], [rating], [], "sha256:test",
        train_rankings=[ranking], test_ties=[tie], train_steps=[step],
    )  # fmt: skip

    (north,) = audit_representation(dataset, {"region": {"north": 0.5}})

    assert north.feedback.value == 0.5


def test_a_slice_that_no_feedback_names_is_said_to_be_unknown(scorer_of):
    pairs = [pair(at, "north") for at in range(30)]
    dataset = RewardDataset(pairs, [], [], [], "sha256:test")

    found = audit_representation(dataset, {"langauge": {"de": 0.6, "fr": 0.4}})

    assert [(one.value, one.feedback, one.is_underrepresented) for one in found] == [
        ("de", None, False),
        ("fr", None, False),
    ]
    audited = audit_model(
        dataset,
        [],
        Rewards(scorer_of(lambda _: 0.0)),
        Auditing(4.0, population={"langauge": {"de": 0.6, "fr": 0.4}}),
        scores=scorer_of(lambda _: 0.0).score([]),
        length_margins=np.empty(0),
    )
    [finding] = [one for one in audited.findings if one.about == "representation"]
    assert finding.level == "unknown"
    assert "langauge" in finding.text


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "population.csv"
    path.write_bytes("slice,value,share\r\nregion,Süd,0.5\r\n".encode("utf-8-sig"))

    assert read_population(path) == {"region": {"Süd": 0.5}}


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("p.csv", "slice,value,share\nregion,north,70\n", "row 1 .*0 to 1"),
        ("p.csv", "slice,value\nregion,north\n", "Row 1 .*lacks"),
        ("p.json", '[{"slice": "r", "value": "n", "share": 0.6}, 3]', "Row 2 .*lacks"),
        ("p.json", '{"region": 1}', "no list"),
        ("p.json", "not json", "cannot be read"),
        ("p.csv", f"slice,value,share\nregion,{'n' * 200_000},0.1\n", "cannot be read"),
        ("p.csv", 'slice,value,share\nregion,"no"rth,0.1\n', "cannot be read"),
        ("p.csv", "slice,value,share\nr,a,0.6\nr,b,0.6\n", "more than 1"),
        ("p.csv", "slice,value,share\nr,a,0.2\nr,a,0.3\n", "twice"),
    ],
)
def test_a_wrong_population_table_is_refused_with_the_reason(tmp_path, name, content, match):
    path = tmp_path / name
    path.write_text(content)

    with pytest.raises(InvalidInput, match=match):
        read_population(path)


def test_a_population_table_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_population(tmp_path / "none.csv")
