"""What a transformer reads of a prompt and a response."""

from pathlib import Path

import pytest
from support.tiny_bert import WORDS, save_tiny_bert

from shared.contracts.manifest import Truncation
from shared.ml.scorer import Pair
from shared.ml.windows import PairTokenizer


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("tiny bert"))


def test_the_prompt_is_cut_from_the_left_before_the_response(tiny_bert: Path) -> None:
    window = Truncation(prompt_tokens=8, response_tokens=8)
    tokenizer = PairTokenizer(tiny_bert, window, separator="[SEP]")

    long_prompt, long_response = tokenizer.windows(
        [Pair("what is the sky one two", "kind and"), Pair("what is", "kind " * 9)]
    )

    words = [[WORDS[token] for token in one.ids] for one in (long_prompt, long_response)]
    assert words[0] == ["[CLS]", "sky", "one", "two", "[SEP]", "kind", "and", "[SEP]"]
    assert words[1] == ["[CLS]", "[SEP]", "kind", "kind", "kind", "kind", "kind", "[SEP]"]
    assert long_prompt.truncated
    assert long_response.truncated


def test_a_prompt_that_the_model_does_not_read_is_not_cut(tiny_bert: Path) -> None:
    window = Truncation(prompt_tokens=0, response_tokens=6)

    short, long = PairTokenizer(tiny_bert, window, separator="[SEP]").windows(
        [Pair("what is", "kind"), Pair("what is", "kind and of one")]
    )

    assert [WORDS[token] for token in short.ids] == ["[CLS]", "[SEP]", "kind", "[SEP]"]
    assert (short.truncated, long.truncated) == (False, True)


def test_many_pairs_are_read_as_each_of_them_alone(tiny_bert: Path) -> None:
    window = Truncation(prompt_tokens=16, response_tokens=16)
    tokenizer = PairTokenizer(tiny_bert, window, separator="[SEP]")
    pairs = [Pair("what " * (at % 7), f"{WORDS[4 + at % 11]} is " * (at % 5)) for at in range(600)]

    windows = tokenizer.windows(pairs)

    assert windows == [tokenizer.windows([pair])[0] for pair in pairs]
