"""What a request is expected to cost before anybody has tokenised it."""

from types import SimpleNamespace

import pytest

from services.reward_service.costs import Speeds, estimated_tokens
from shared.contracts.manifest import Truncation
from shared.ml.backbones import default_encoder_folder
from shared.ml.scorer import Pair
from shared.ml.tokens import TextTokenizer


def manifest(template: str, prompt_tokens: int = 100, response_tokens: int = 200):
    window = Truncation(prompt_tokens=prompt_tokens, response_tokens=response_tokens)
    return SimpleNamespace(template=template, truncation=window)


def test_a_prompt_that_is_read_by_itself_costs_once_and_windows_bound_all():
    pairs = [Pair("p" * 80, "r" * 40), Pair("p" * 80, "r" * 4000), Pair("q" * 4000, "r" * 40)]

    costs = estimated_tokens(pairs, manifest("separate"))

    assert costs == [(2 + 20) + (2 + 10), 200, 100 + (2 + 10)]


def test_a_prompt_that_is_read_with_each_response_costs_each_time():
    pairs = [Pair("p" * 80, "r" * 40), Pair("p" * 80, "r" * 40), Pair("p" * 80, "r" * 4000)]

    costs = estimated_tokens(pairs, manifest("pair"))

    assert costs == [34, 34, 200]


TEXTS = {
    "English": "Rest, drink water and call your doctor if the fever lasts longer than three days.",
    "Chinese": "多休息，多喝水，如果发烧超过三天请去看医生。",
    "Russian": "Отдыхайте, пейте воду и обратитесь к врачу, если температура держится три дня.",
    "German": "Ruhen Sie sich aus, trinken Sie Wasser und rufen Sie bei Fieber den Arzt.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_the_guess_is_within_a_factor_of_two_of_the_tokens(language):
    text = TEXTS[language]
    (ids,) = TextTokenizer(default_encoder_folder()).ids([text])

    (guess,) = estimated_tokens([Pair("", text)], manifest("separate", response_tokens=512))

    assert 0.5 < (guess - 2) / (len(ids) + 2) < 2


def test_a_model_is_as_fast_as_it_was_lately():
    speeds, model, other = Speeds(), SlowModel(), SlowModel()
    before = speeds.of(model)

    for _ in range(40):
        speeds.observe(model, 500, 1.0)

    assert speeds.of(model) == pytest.approx(500, rel=0.05)
    assert speeds.of(other) == before


class SlowModel:
    """Stands for a loaded model, which only its identity matters of."""
