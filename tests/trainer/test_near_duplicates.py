"""Near-duplicates that were planted, and texts that only look alike."""

import random
import tracemalloc

import numpy as np
import pytest

from services.trainer.near_duplicates import near_clusters, near_pairs, shingles_of, words_of

SENTENCES = """patient neuron climate model synapse fever rainfall dosage segment review trace
region temperature headache cortex storm tablet axon glacier allergy connection measure explain
compare before during between without please summarise largest earliest annual doctor"""
WORDS = SENTENCES.split()


def prompt(rng: random.Random, words: int = 20) -> str:
    made_up = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(words // 2)]
    together = [*made_up, *rng.choices(WORDS, k=words - len(made_up))]
    rng.shuffle(together)
    return " ".join(together)


def edited(text: str, rng: random.Random) -> str:
    """One word dropped, put elsewhere, added or spelt otherwise, or other punctuation."""
    words = text.split()
    at = rng.randrange(len(words) - 1)
    kind = rng.choice(["drop", "swap", "add", "misspell", "punctuate"])
    if kind == "drop":
        del words[at]
    elif kind == "swap":
        words[at], words[at + 1] = words[at + 1], words[at]
    elif kind == "add":
        words.insert(at, rng.choice(WORDS))
    elif kind == "misspell":
        words[at] = words[at][:-1] + "x"
    else:
        words[at] += rng.choice([",", "!", "...", "?"])
    return " ".join(words)


def test_planted_near_duplicates_are_found_and_nothing_else():
    """5 % of 2,000 prompts have a twin with one edit."""
    rng = random.Random(0)
    prompts = [prompt(rng) for _ in range(2000)]
    planted = rng.sample(range(2000), 100)

    labels = near_clusters([*prompts, *(edited(prompts[at], rng) for at in planted)])

    found = [labels[at] == labels[2000 + number] for number, at in enumerate(planted)]
    together = len(labels) - len(set(labels.tolist()))
    assert np.mean(found) > 0.95
    assert together == sum(found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("how do i reset my password?", "how do i reset my password"),
        ("the dosage of paracetamol is what", "what is the dosage of paracetamol"),
        ("please explain how synapses work", "explain how synapses work"),
        ("肺炎の患者さんにはどの薬を処方しますか", "肺炎の患者にはどの薬を処方しますか"),
        ("头痛、发烧,咳嗽三天了,吃什么药好。", "头痛发烧咳嗽三天了吃什么药好"),
    ],
)  # fmt: skip
def test_the_same_question_in_almost_the_same_words_is_one_cluster(one: str, other: str):
    assert near_pairs([one, "something else altogether", other]).tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what is 17 + 5?", "what is 17 + 6?"),
        ("what is the capital of france?", "what is the capital of portugal?"),
        ("how do i reset my password in firefox", "how do i reset my password in outlook"),
        ("???", "!!!"),
        ("", "something"),
    ],
)
def test_different_questions_in_similar_words_stay_apart(one: str, other: str):
    assert len(near_pairs([one, other])) == 0


def test_vowel_signs_end_no_word():
    """Without them a long text is a set of single consonants, which all long texts have."""
    assert words_of("मुझे बुखार है, क्या करूँ?") == {"मुझे", "बुखार", "है", "क्या", "करूँ"}
    assert words_of("❤\ufe0f வணக்கம்") == {"வணக்கம்"}


def test_what_most_prompts_begin_with_does_not_make_them_alike():
    system = "you are a careful assistant who answers the questions of patients in plain words "
    questions = [f"{system} {word} {number}" for number, word in enumerate(WORDS)]

    assert len(near_pairs(questions)) == 0
    assert len(near_pairs(questions[:2])) == 1


def test_very_many_twins_are_one_cluster():
    rng = random.Random(1)
    text = prompt(rng, 40)
    others = [prompt(rng, 40) for _ in range(400)]

    labels = near_clusters([edited(text, rng) for _ in range(300)] + others)

    assert len(set(labels[:300].tolist())) == 1
    assert len(set(labels.tolist())) == 401


def test_memory_is_about_that_of_the_signatures():
    """Each text has 240 hashes of four bytes; tables of all bands at once took 16 kB a text."""
    rng = random.Random(2)
    vocabulary = prompt(rng, 1000).split()
    texts = [" ".join(rng.sample(vocabulary, 20)) for _ in range(2000)]

    tracemalloc.start()
    near_pairs(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4_000 * len(texts)


@pytest.mark.parametrize("texts", [[], ["alone"]])
def test_few_texts_are_no_trouble(texts: list[str]):
    assert len(near_clusters(texts)) == len(texts)


def test_a_number_counts_as_much_as_a_long_word():
    assert words_of("case 5, ward b") == {"case", "5", "ward", "b"}
    assert (len(shingles_of("5")), shingles_of("case")) == (8, [" cas", "case", "ase "])
