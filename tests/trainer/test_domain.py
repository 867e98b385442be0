"""When a model says that a text is unlike those it learned from."""

import random
from pathlib import Path

import numpy as np
import pytest

from services.trainer.domain import fit_domain, sample_rows
from shared.contracts.manifest import Domain, Truncation
from shared.errors import ArtifactError
from shared.ml.backbones import default_encoder_folder
from shared.ml.domain import DOMAIN_FILE, DomainModel, read_domain
from shared.ml.encoder import open_encoder
from shared.ml.head import Embedded
from shared.ml.scorer import Pair, PairReader

WORDS = {
    "who": ["My mother", "A patient of mine", "My son", "A colleague", "My wife", "I"],
    "what": ["fever", "a cough", "back pain", "high blood pressure", "a headache", "bad sleep"],
    "when": ["since yesterday", "for a week", "after lunch", "every winter", "at night"],
    "advice": ["Drink enough water", "Rest for two days", "Take less salt", "Walk every day"],
    "end": ["call a doctor if it gets worse", "it usually passes by itself", "measure it daily"],
}
ELSEWHERE = [
    "Bei der Wahl zum Bundestag wurden gestern alle Stimmen ausgezählt.",
    "El tren de las ocho sale con retraso por culpa de la nieve.",
    "明日の会議は三階で行います。",
    "Il ladro è scappato con la bicicletta rossa del vicino.",
    "Коррекция ошибок в коде заняла весь вечер.",
    "qzx vrrt plomf dgu wexi bnoo trk ajsd fplq",
    "copper seven beneath trumpet ledger hexagon quickly sandal nine",
    "SELECT name FROM rivers WHERE length > 300 ORDER BY name;",
]


def in_domain(number: int) -> Pair:
    draw = random.Random(number)
    said = {name: draw.choice(words) for name, words in WORDS.items()}
    case = draw.randint(100, 999)
    return Pair(
        f"{said['who']} had {said['what']} {said['when']}, what can be done? Case {case}.",
        f"{said['advice']}; {said['end']}. Note {case}.",
    )


def embedded(pairs: list[Pair]) -> Embedded:
    window = Truncation(prompt_tokens=64, response_tokens=64)
    encoder = open_encoder(default_encoder_folder())
    return PairReader(encoder, window, separator=None).read(pairs).embedded


@pytest.fixture(scope="module")
def domain() -> tuple[Domain, DomainModel]:
    found = fit_domain(
        embedded([in_domain(number) for number in range(240)]),
        np.arange(240) // 2,
        ("prompt", "response"),
        seed=1,
    )
    assert found is not None
    return found


def test_texts_from_elsewhere_are_flagged_and_texts_like_those_of_training_are_not(domain) -> None:
    _, model = domain

    inside = model.is_outside(embedded([in_domain(number) for number in range(1000, 1100)]))
    outside = model.is_outside(embedded([Pair(text, text) for text in ELSEWHERE]))

    assert inside.mean() <= 0.05
    assert outside.mean() >= 0.9


def test_a_strange_response_to_a_usual_prompt_is_enough(domain) -> None:
    _, model = domain
    pairs = [Pair(in_domain(at).prompt, text) for at, text in enumerate(ELSEWHERE)]

    assert model.is_outside(embedded(pairs)).mean() >= 0.7


def test_a_stored_domain_measures_the_same_distances(domain, tmp_path: Path) -> None:
    named, model = domain
    (tmp_path / DOMAIN_FILE).write_bytes(model.to_bytes())
    texts = embedded([in_domain(1), Pair(ELSEWHERE[0], ELSEWHERE[1])])

    read = read_domain(tmp_path, named, dim=384)

    assert np.array_equal(read.distances(texts), model.distances(texts))
    with pytest.raises(ArtifactError, match="does not fit the embeddings"):
        read_domain(tmp_path, named, dim=385)


def test_a_domain_that_cannot_be_read_is_one_clear_error(domain, tmp_path: Path) -> None:
    named, _ = domain

    with pytest.raises(ArtifactError, match="not a readable domain"):
        read_domain(tmp_path, named, dim=384)


@pytest.mark.parametrize("groups", [1, 98])
def test_too_few_prompts_have_no_threshold(groups: int) -> None:
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(200, 6)).astype(np.float32)
    texts = Embedded(vectors, vectors, np.full(200, 5), [""] * 200)

    assert fit_domain(texts, np.arange(200) % groups, ("response",), seed=1) is None


def test_many_responses_to_each_prompt_do_not_crowd_prompts_out() -> None:
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(120 * 60, 4)).astype(np.float32)
    texts = Embedded(vectors, vectors, np.full(len(vectors), 5), [""] * len(vectors))

    found = fit_domain(texts, np.repeat(np.arange(120), 60), ("response",), seed=1)

    assert found is not None
    assert found[0].groups == 120


def test_of_very_many_responses_some_of_every_prompt_are_looked_at() -> None:
    groups = np.random.default_rng(1).permutation(np.repeat(np.arange(3000), 4))

    rows = sample_rows(groups, seed=1)

    assert len(set(rows)) == 5000
    assert set(groups[rows]) == set(range(3000))
    assert np.array_equal(sample_rows(groups[:5000], seed=1), np.arange(5000))


def test_one_response_to_everything_leaves_the_prompts_to_tell() -> None:
    draw = np.random.default_rng(1)
    prompts = draw.normal(size=(120, 4)).astype(np.float32)
    texts = Embedded(prompts, np.ones((120, 4), dtype=np.float32), np.full(120, 5), [""] * 120)

    found = fit_domain(texts, np.arange(120), ("prompt", "response"), seed=1)

    assert found is not None
    assert not found[1].is_outside(texts).all()


def test_one_of_a_hundred_texts_of_new_prompts_is_flagged() -> None:
    draw = np.random.default_rng(2)
    mixing = draw.normal(size=(12, 12))

    def texts(groups: int) -> Embedded:
        topic = np.repeat(draw.normal(size=(groups, 12)), 3, axis=0)
        vectors = ((topic + draw.normal(size=(groups * 3, 12))) @ mixing).astype(np.float32)
        return Embedded(vectors[::-1], vectors, np.full(groups * 3, 5), [""] * (groups * 3))

    found = fit_domain(texts(1500), np.repeat(np.arange(1500), 3), ("prompt", "response"), seed=1)

    assert found is not None
    assert 0.004 <= found[1].is_outside(texts(3000)).mean() <= 0.018
