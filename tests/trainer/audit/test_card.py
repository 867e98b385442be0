import random
import uuid
from pathlib import Path

import pytest

from services.trainer.audit.findings import findings
from services.trainer.audit.held_out import Compared, Rewards
from services.trainer.audit.mistakes import read_mistakes, worst_mistakes
from services.trainer.examples import PreferencePair, RatedResponse, RatedStep, RewardDataset
from services.trainer.judging import matched_ratings
from services.trainer.recipes.embedding_reward import EmbeddingParams, train
from services.trainer.trained import TrainedReward
from shared.contracts.audit import AUDIT_FILE, AuditReport
from shared.errors import ArtifactError, NotFound
from shared.ml.scorer import Pair
from shared.ml.signed_files import read_signed

SECRET = b"a secret of at least thirty-two bytes"
ODD_NAME = "a $x{$ |\n# <b>"  # a formula to matplotlib, a table's end and a tag to Markdown
SECRET_WORDS = ("marigold", "walnut", "ferris", "obsidian")


def made_of(count: int, draw: random.Random) -> list[PreferencePair]:
    """Comparisons whose texts hold words that no card may hold."""
    return [
        PreferencePair(
            f"Tell me of {draw.choice(SECRET_WORDS)}, case {at}.",
            f"Gladly: {draw.choice(SECRET_WORDS)} is a fine thing." + " Truly." * (at % 3),
            f"Go away with your {draw.choice(SECRET_WORDS)}." + " Really." * (at // 3 % 3),
            group=f"{at}",
            row_ids=(str(uuid.UUID(int=draw.getrandbits(128))),),
            slices={"region": "north" if at % 2 else ODD_NAME, "ward": f"ward {at}"},
            presented_first=draw.choice(["chosen", "rejected"]),
        )
        for at in range(count)
    ]


def train_on(dataset: RewardDataset, folder: Path, **params: object) -> TrainedReward:
    return train(
        dataset,
        EmbeddingParams(**params),
        output=folder,
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedReward:
    """A small model of comparisons and ratings, some of which contradict the others."""
    draw = random.Random(0)
    pairs = made_of(110, draw)
    rated = [
        RatedResponse(
            pair.prompt, pair.chosen if at % 2 else pair.rejected, 4.0 if at % 2 else 2.0,
            pair.group, f"row-{at}",
        )
        for at, pair in enumerate(pairs)
    ]  # fmt: skip
    dataset = RewardDataset(pairs[:60], pairs[60:], rated[:60], rated[60:], "sha256:test")
    population = tmp_path_factory.mktemp("tables") / "population.json"
    population.write_text('[{"slice": "region", "value": "west", "share": 0.3}]')
    return train_on(
        dataset,
        tmp_path_factory.mktemp("models") / "model",
        lexical=False,
        population=str(population),
    )


@pytest.fixture(scope="module")
def report(trained: TrainedReward) -> AuditReport:
    return AuditReport.model_validate_json(read_signed(trained.folder, AUDIT_FILE, secret=SECRET))


def test_the_audit_of_a_trained_model_has_every_part(report: AuditReport):
    for part in (report.accuracy, report.length, report.prompt, report.ratings, report.position):
        assert part is not None
    for rows in (report.template, report.regression, report.classification, report.slices):
        assert rows
    assert {one.of for one in report.calibration} == {"good", "pairs"}
    assert report.learning.verdict != "left_out"
    assert report.representation[0].is_underrepresented
    assert report.slices_not_named == 50


def test_neither_card_nor_audit_holds_a_text_or_a_rare_slice(trained: TrainedReward):
    for name in ("card.md", AUDIT_FILE, "reward_model.json"):
        content = (trained.folder / name).read_text()
        assert not any(word in content for word in (*SECRET_WORDS, "Gladly", "ward 1"))


def test_the_card_begins_with_the_findings_and_shows_every_plot(trained, report):
    card = (trained.folder / "card.md").read_text()

    assert card.index(report.findings[0].text) < card.index("## Accuracy")
    plots = sorted(path.name for path in trained.folder.glob("*.png"))
    assert plots == sorted(
        ["accuracy.png", "calibration.png", "learning.png", "length.png", "margins.png"]
        + ["slices.png"]
    )
    assert all(f"({plot})" in card for plot in plots)


def test_a_slice_of_an_odd_name_is_shown_as_it_is_written(trained: TrainedReward, report):
    card = (trained.folder / "card.md").read_text()

    assert ODD_NAME in {one.value for one in report.slices}
    assert r"| a $x{$ \| # \<b\> |" in card


def test_the_metrics_name_the_slices_and_the_length_verdict(trained, report):
    by_value = {one.value: one for one in report.slices}

    key = "slice/region=north/pair_accuracy"
    assert trained.metrics[key] == by_value["north"].accuracy.value
    assert trained.manifest.metrics[f"{key}_pairs"] == by_value["north"].pairs
    assert trained.metrics["length_verdict"] == report.length.verdict


def test_a_model_of_ratings_alone_is_audited_on_matched_ratings(tmp_path: Path):
    rated = [
        RatedResponse(
            f"Question {at}?", f"{'Gladly, rest' if at % 2 else 'No idea'} {at}.",
            5.0 if at % 2 else 1.0, str(at), str(at),
        )
        for at in range(120)
    ]  # fmt: skip
    dataset = RewardDataset([], [], rated[:60], rated[60:], "sha256:test")

    trained = train_on(dataset, tmp_path / "model", mode="original")

    report = AuditReport.model_validate_json((trained.folder / AUDIT_FILE).read_text())
    assert (report.compared_on, report.pairs) == ("matched_ratings", 30)
    assert report.accuracy.model.value == 1.0 > report.accuracy.model.low
    assert [one.on for one in report.classification] == ["held_out_prompts", "row_split"]


def test_nothing_held_out_is_said_first(tmp_path: Path):
    pairs = made_of(60, random.Random(1))

    trained = train_on(RewardDataset(pairs, [], [], [], "sha256:test"), tmp_path / "m")

    report = AuditReport.model_validate_json((trained.folder / AUDIT_FILE).read_text())
    assert report.findings[0].level == "unknown"
    assert "Nothing was held out" in (trained.folder / "card.md").read_text()


def test_findings_put_warnings_before_good_news(report: AuditReport):
    levels = [one.level for one in findings(report)[1:]]

    assert levels == sorted(levels, key=["warning", "unknown", "note", "good"].index)


def test_the_worst_mistakes_are_named_by_rows_and_found_again(report, scorer_of):
    ranking = [
        PreferencePair("p", chosen, rejected, "g", source="ranking", row_ids=("r1",))
        for chosen, rejected in (("a", "bb"), ("a", "cccc"), ("bb", "cccc"))
    ]
    other = PreferencePair("q", "long enough", "x", "h", row_ids=("r2",))
    compared = Compared.of([*ranking, other], Rewards(scorer_of(lambda one: len(one.response))))

    found = worst_mistakes(compared)
    read = read_again(report, found, RewardDataset([], [other, *ranking], [], [], "sha256:test"))
    gone = read_again(report, found, RewardDataset([], [other], [], [], "sha256:test"))

    assert [(one.row_ids, one.place, one.margin) for one in found] == [
        (["r1"], 1, -3.0),
        (["r1"], 2, -2.0),
        (["r1"], 0, -1.0),
    ]
    assert [sides[1].response for sides in read] == ["cccc", "cccc", "bb"]
    assert gone == [None, None, None]


def read_again(report: AuditReport, mistakes, dataset: RewardDataset, **changes):
    """The sides of mistakes as they are found in a dataset again."""
    told = report.model_copy(update={"mistakes": mistakes, **changes})
    return [one.sides for one in read_mistakes(told, dataset, limit=20)]


def test_mistakes_on_matched_ratings_are_found_again_after_an_erasure(report, scorer_of):
    """Without the rows that are gone, other responses would be matched than were."""
    rated = [
        RatedResponse(f"p{at}", "x" * (9 - at), float(1 + at % 5), f"g{at}", f"row-{at}")
        for at in range(8)
    ]
    steps = [RatedStep("q", ("first", "then"), 5.0, "h", "row-step")]
    scorer = scorer_of(lambda one: len(one.response))
    found = worst_mistakes(Compared.of(matched_ratings(rated), Rewards(scorer)))
    left = RewardDataset([], [], [], rated[1:], "sha256:test", test_steps=steps)

    read = read_again(report, found, left, compared_on="matched_ratings")

    named = {f"row-{at}": one for at, one in enumerate(rated)}
    for mistake, sides in zip(found, read, strict=True):
        texts = [(named[row].prompt, named[row].response) for row in mistake.row_ids]
        assert sides == (None if "row-0" in mistake.row_ids else tuple(Pair(*one) for one in texts))
    assert None in read
    assert len(read) >= 3


def test_a_row_id_that_is_a_text_is_not_written(scorer_of):
    pair = PreferencePair("p", "a", "bb", "g", row_ids=("Ann Smith, ward 7",))

    (found,) = worst_mistakes(
        Compared.of([pair], Rewards(scorer_of(lambda one: len(one.response))))
    )

    assert found.row_ids == ["(not an id)"]


def test_only_signed_files_of_an_artifact_are_read(trained: TrainedReward, tmp_path: Path):
    with pytest.raises(NotFound, match="no other.md"):
        read_signed(trained.folder, "other.md", secret=SECRET)
    with pytest.raises(ArtifactError, match="not signed"):
        read_signed(trained.folder, "card.md", secret=b"another secret of thirty-two bytes.")
