"""The bundled sample is what it says it is, and quality in it is neither length nor wording."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from random import Random
from uuid import NAMESPACE_URL, uuid5

import krippendorff
import numpy as np
import pytest
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from heed_cli.sample import FILE_NAME, Row, build_sample, load_sample, sample_lines
from heed_cli.sample.content import read_text
from services.feedback_api.schemas import FeedbackIn, PreferenceIn
from services.trainer.audit.learning import RememberingEncoder
from services.trainer.baselines import fitted_length_margins
from services.trainer.datasets import FeedbackRow, PreferenceRow, collect_evidence
from services.trainer.examples import RewardDataset
from services.trainer.heads import Floats
from services.trainer.recipes.embedding_reward import EmbeddingParams, train_embedding_reward
from services.trainer.reward_metrics import hits
from services.trainer.splits import normalise_prompt
from shared.contracts.manifest import Truncation
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder
from shared.ml.scorer import PairReader

Margins = Callable[[RewardDataset], Floats]
Record = Callable[[str, str], None]

FOLDS = 5


@cache
def rows(batch: int, kind: str) -> list[Row]:
    return [row for row in load_sample() if (row["batch"], row["kind"]) == (batch, kind)]


def test_the_bundled_file_is_what_the_generator_writes():
    assert read_text(FILE_NAME) == sample_lines(build_sample())


def test_another_seed_gives_another_sample_of_the_same_size():
    one, other = build_sample(1), build_sample(2)

    assert sample_lines(one) != sample_lines(other)
    assert len({row["prompt"] for row in one.first}) == len({row["prompt"] for row in other.first})


def test_the_first_batch_alone_is_large_enough_for_the_loop():
    feedback, preferences = rows(1, "feedback"), rows(1, "preference")
    rated = {(row["prompt"], row["response"]) for row in feedback}
    per_prompt = Counter(prompt for prompt, _ in rated)
    ties = sum(row["preferred"] == "tie" for row in preferences)

    assert len(per_prompt) >= 300
    assert len(rated) >= 900
    assert len(preferences) >= 400
    assert 40 <= ties <= 100
    assert len({row["rater_id"] for row in feedback}) >= 8
    assert min(per_prompt.values()) >= 4


def test_the_later_batch_repeats_prompts_and_brings_new_ones():
    first = {row["prompt"] for row in rows(1, "feedback")}
    later = {row["prompt"] for row in rows(2, "feedback")}

    assert len(later & first) == 100
    assert len(later - first) == 38


def test_few_enough_distinct_texts_to_encode_in_a_minute():
    fields = ("prompt", "response", "response_a", "response_b")
    texts = {row[field] for row in load_sample() for field in fields if field in row}

    assert len(texts) <= 2000
    assert max(len(text.split()) for text in texts) <= 75


def test_every_row_is_a_body_that_the_feedback_api_accepts():
    for row in load_sample():
        body = {name: value for name, value in row.items() if name not in ("kind", "batch")}
        shape = FeedbackIn if row["kind"] == "feedback" else PreferenceIn

        assert shape.model_validate(body).prompt == row["prompt"]


def test_nobody_judges_the_same_thing_twice():
    judged = Counter(
        (row["rater_id"], row["prompt"], row.get("response"))
        if row["kind"] == "feedback"
        else (row["rater_id"], row["prompt"], *sorted([row["response_a"], row["response_b"]]))
        for row in load_sample()
    )

    assert judged.most_common(1)[0][1] == 1


def test_two_compared_responses_are_never_the_same():
    assert all(row["response_a"] != row["response_b"] for row in rows(1, "preference"))


def test_every_response_ends_with_a_whole_sentence():
    assert all(row["response"].endswith(".") for row in load_sample() if "response" in row)


def test_raters_agree_as_well_as_people_do(record_property: Record):
    raters = sorted({row["rater_id"] for row in rows(1, "feedback")})
    stars: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in rows(1, "feedback"):
        stars[row["prompt"], row["response"]][row["rater_id"]] = row["rating"]
    twice = [given for given in stars.values() if len(given) > 1]
    table = [[given.get(rater, np.nan) for given in twice] for rater in raters]

    alpha = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")

    record_property("alpha", f"{alpha:.3f}")
    assert len(twice) >= 250
    assert 0.4 <= alpha <= 0.7


def test_length_tells_little(record_property: Record):
    accuracy, error = held_out_accuracy(
        length_margins, datasets(rows(1, "feedback"), seeds=(0, 1, 2))
    )

    record_property("accuracy", f"{accuracy:.3f} ± {2 * error:.3f}")
    assert accuracy <= 0.70


def test_the_words_of_the_response_tell_little(record_property: Record):
    accuracy, error = held_out_accuracy(
        word_margins, datasets(rows(1, "feedback"), seeds=(0, 1, 2))
    )

    record_property("accuracy", f"{accuracy:.3f} ± {2 * error:.3f}")
    assert accuracy <= 0.70


def test_the_default_model_learns_what_raters_prefer(
    default_margins: Margins, record_property: Record
):
    folds = islice(datasets(rows(1, "feedback"), seeds=(0,)), 3)
    accuracy, error = held_out_accuracy(default_margins, folds)

    record_property("accuracy", f"{accuracy:.3f} ± {2 * error:.3f}")
    assert 0.62 <= accuracy <= 0.90


def test_from_shuffled_labels_the_default_model_learns_nothing(
    default_margins: Margins, record_property: Record
):
    rng = Random(0)
    feedback = rows(1, "feedback")
    ratings = [row["rating"] for row in feedback]
    rng.shuffle(ratings)
    shuffled = [row | {"rating": stars} for row, stars in zip(feedback, ratings, strict=True)]

    folds = islice(datasets(shuffled, (0,), coin=rng), 2)
    accuracy, error = held_out_accuracy(default_margins, folds)

    record_property("accuracy", f"{accuracy:.3f} ± {2 * error:.3f}")
    assert abs(accuracy - 0.5) <= 2 * error


def datasets(
    feedback: Sequence[Row], seeds: Sequence[int], coin: Random | None = None
) -> Iterator[RewardDataset]:
    """Five grouped folds per seed of what the first batch says; a coin replaces the choices."""
    evidence = collect_evidence(
        [feedback_row(row) for row in feedback],
        [preference_row(row, coin) for row in rows(1, "preference")],
        lambda prompt: normalise_prompt(prompt).encode(),
    )
    for seed in seeds:
        for fold in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(
            evidence.pairs, groups=[pair.group for pair in evidence.pairs]
        ):
            held_out = {evidence.pairs[at].group for at in fold[1]}
            yield RewardDataset(
                train_pairs=[pair for pair in evidence.pairs if pair.group not in held_out],
                test_pairs=[pair for pair in evidence.pairs if pair.group in held_out],
                train_rated=[one for one in evidence.rated if one.group not in held_out],
                test_rated=[one for one in evidence.rated if one.group in held_out],
                snapshot_hash="",
            )


def feedback_row(row: Row) -> FeedbackRow:
    return FeedbackRow(
        seq=0,
        id=uuid5(NAMESPACE_URL, row["feedback_id"]),
        rater=row["rater_id"],
        agent=row["agent_name"],
        task=None,
        context=row["context"],
        at=datetime.fromisoformat(row["occurred_at"]),
        prompt=row["prompt"],
        response=row["response"],
        rating=row["rating"],
    )


def preference_row(row: Row, coin: Random | None) -> PreferenceRow:
    return PreferenceRow(
        seq=0,
        id=uuid5(NAMESPACE_URL, row["preference_id"]),
        rater=row["rater_id"],
        agent=row["agent_name"],
        task=None,
        context=row["context"],
        at=datetime.fromisoformat(row["occurred_at"]),
        prompt=row["prompt"],
        response_a=row["response_a"],
        response_b=row["response_b"],
        outcome=row["preferred"] if coin is None else coin.choice("ab"),
    )


def held_out_accuracy(margins: Margins, folds: Iterable[RewardDataset]) -> tuple[float, float]:
    """Share of held-out pairs ordered right, and its standard error over whole prompts."""
    folds = list(folds)
    right = np.concatenate([hits(margins(fold)) for fold in folds])
    groups = [pair.group for fold in folds for pair in fold.test_pairs]
    _, member = np.unique(groups, return_inverse=True)
    residual_sums = np.bincount(member, weights=right - right.mean())
    return float(right.mean()), float(np.sqrt((residual_sums**2).sum()) / len(right))


def length_margins(fold: RewardDataset) -> Floats:
    return fitted_length_margins(fold.train_pairs, fold.train_rated, fold.test_pairs)


def word_margins(fold: RewardDataset) -> Floats:
    """Bradley-Terry on TF-IDF of the words and bigrams of the response alone."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    words.fit({text for pair in fold.train_pairs for text in (pair.chosen, pair.rejected)})
    differences = {
        name: words.transform([pair.chosen for pair in pairs])
        - words.transform([pair.rejected for pair in pairs])
        for name, pairs in (("train", fold.train_pairs), ("test", fold.test_pairs))
    }
    both_ways = vstack([differences["train"], -differences["train"]])
    won = np.repeat([True, False], len(fold.train_pairs))
    model = LogisticRegression(fit_intercept=False, max_iter=500).fit(both_ways, won)
    return np.asarray(model.decision_function(differences["test"]))


@pytest.fixture(scope="module")
def default_margins() -> Margins:
    """Trains the default model on a fold; texts are encoded once for all folds."""
    encoder = RememberingEncoder(open_encoder(default_encoder_folder()))
    params = EmbeddingParams()
    window = Truncation(prompt_tokens=params.prompt_tokens, response_tokens=params.response_tokens)
    reader = PairReader(encoder, window, separator=None)

    def margins(fold: RewardDataset) -> Floats:
        fitted = train_embedding_reward(fold, params, encoder, progress=lambda *_: None)
        sides = [side for pair in fold.test_pairs for side in pair.sides]
        rewards = fitted.head.rewards(reader.read(sides).embedded)
        return rewards[0::2] - rewards[1::2]

    return margins
