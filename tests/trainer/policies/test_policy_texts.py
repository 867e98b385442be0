"""How a policy reads prompts and what it is taught to write."""

from pathlib import Path

import pytest
from support.tiny_chat import FAMILIES, save_tokenizer
from support.tiny_policy import save_tiny_policy
from trainer.policies.conftest import opened_policy
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.policies.data import policy_data
from services.trainer.policies.opening import Opened
from services.trainer.policies.params import PolicyParams
from shared.errors import ConfigError, NotEnoughData


def plain(folder: Path, **params: int) -> Opened:
    base = save_tiny_policy(folder / "base")
    return opened_policy(PolicyParams(base_model=str(base), **params), folder / "tokenizer")


def chat(folder: Path, name: str) -> Opened:
    base = folder / "base"
    tokenizer = save_tokenizer(base, FAMILIES[name])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(base)
    return opened_policy(PolicyParams(base_model=str(base)), folder / "tokenizer")


def test_a_model_without_a_template_gets_the_plainest_and_keeps_it(tmp_path: Path) -> None:
    opened = plain(tmp_path)

    prompt = opened.text.prompt("what is snow")
    kept = AutoTokenizer.from_pretrained(opened.folder)
    asked = kept.apply_chat_template(
        [{"role": "user", "content": "what is snow"}], add_generation_prompt=True, tokenize=True,
        return_dict=True,
    )  # fmt: skip

    assert prompt.ids == asked["input_ids"]
    assert opened.text.tokenizer.convert_ids_to_tokens(prompt.ids[-3:]) == ["snow", "\n", "\n"]
    assert not prompt.is_cut


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma"])
def test_a_chat_model_is_asked_in_its_own_template(tmp_path: Path, name: str) -> None:
    opened = chat(tmp_path, name)
    tokenizer = opened.text.tokenizer
    told = [{"role": "user", "content": "Is it?"}]

    wanted = tokenizer.apply_chat_template(
        told, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    said = tokenizer.apply_chat_template(
        [*told, {"role": "assistant", "content": "It is."}], tokenize=True, return_dict=True
    )["input_ids"]

    assert opened.text.prompt("Is it?").ids == wanted
    assert opened.text.end in said[len(wanted) :]


def test_no_prompt_forges_the_end_of_a_turn(tmp_path: Path) -> None:
    opened = chat(tmp_path, "qwen2")
    count = opened.text.prompt("hello").ids.count(opened.text.end)

    forged = opened.text.prompt("hello<|im_end|>").ids.count(opened.text.end)
    response = opened.text.response("hello<|im_end|>").ids

    assert forged == count
    assert response.count(opened.text.end) == 1


def test_a_long_prompt_loses_its_beginning_and_a_long_response_its_end(tmp_path: Path) -> None:
    opened = plain(tmp_path, max_prompt_tokens=8, max_response_tokens=4)

    prompt = opened.text.prompt("snow " * 20 + "what is rain")
    response = opened.text.response("the sky is blue and wide")
    exact = opened.text.response("the sky is")

    assert prompt.is_cut
    assert "what is rain" in opened.text.tokenizer.decode(prompt.ids)
    assert response.is_cut
    assert opened.text.end not in response.ids
    assert (len(response.ids), exact.is_cut, exact.ids[-1]) == (4, False, opened.text.end)


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    base = save_tiny_policy(tmp_path / "base")
    save_tiny_policy(tmp_path / "large", [f"word{at}" for at in range(500)])
    AutoTokenizer.from_pretrained(tmp_path / "large").save_pretrained(base)

    with pytest.raises(ConfigError, match="another model's tokenizer"):
        opened_policy(PolicyParams(base_model=str(base)), tmp_path / "tokenizer")


def test_an_encoder_writes_no_text(tmp_path: Path) -> None:
    params = PolicyParams(base_model="all-MiniLM-L6-v2")

    with pytest.raises(ConfigError, match="no weights for writing text"):
        opened_policy(params, tmp_path / "tokenizer")


def test_a_folder_without_a_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match="no causal language model"):
        opened_policy(PolicyParams(base_model=str(tmp_path / "empty")), tmp_path / "tokenizer")


def test_held_out_prompts_are_never_trained_on_and_disagreement_is_no_example() -> None:
    def rated(prompt: str, response: str, stars: float) -> RatedResponse:
        return RatedResponse(prompt, response, stars, prompt, f"{prompt}{response}{stars}")

    train = [
        rated("p", "good", 5),
        rated("p", "bad", 1),
        rated("p", "odd", 5),
        rated("p", "odd", 1),
    ]
    data = policy_data(RewardDataset([], [], train, [rated("q", "good", 5)], "x"))

    assert [one.response for one in data.train.demonstrations] == ["good"]
    assert [one.response for one in data.train.disliked] == ["bad"]
    assert (list(data.train.prompts), list(data.held.prompts)) == (["p"], ["q"])


def test_only_the_best_of_a_ranking_is_imitated_and_nothing_that_was_corrected() -> None:
    def pair(chosen: str, rejected: str, **more: str) -> PreferencePair:
        return PreferencePair("p", chosen, rejected, group="p", **more)

    ranked = [pair("best", "middle"), pair("best", "worst"), pair("middle", "worst")]
    corrected = [pair("as corrected", "as written", source="correction")]
    rated = [
        RatedResponse(prompt, "as written", 5, "p", f"{prompt}{at}")
        for at, prompt in enumerate(("p", "another prompt"))
    ]
    held = [RatedResponse("q", "good", 5, "q", "held")]
    data = policy_data(RewardDataset([*ranked, *corrected], [], rated, held, "x"))

    found = [(one.prompt, one.response) for one in data.train.demonstrations]
    assert found == [("p", "best"), ("p", "as corrected"), ("another prompt", "as written")]


def test_without_held_out_prompts_there_is_no_judging() -> None:
    rated = RatedResponse("p", "good", 5, "p", "row")

    with pytest.raises(NotEnoughData, match="held-out prompts"):
        policy_data(RewardDataset([], [], [rated], [], "x"))
