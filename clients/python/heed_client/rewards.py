"""Rewards for training policies: what TRL's `GRPOTrainer` takes as one of its `reward_funcs`.

    from heed_client.rewards import reward_function

    trainer = GRPOTrainer(model, reward_funcs=reward_function(model="reward@3"), ...)

TRL calls the responses `completions`, here alone; a response is what they are everywhere else.
"""

import asyncio
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from heed_client.calls import Call
from heed_client.encoding import to_json
from heed_client.errors import HeedProblem, Problem
from heed_client.options import Options
from heed_client.results import Result
from heed_client.retrying import Retries
from heed_client.senders import Sender
from heed_client.settings import REWARD_URL, find_service

# What one request holds at most, so that its body, and its tokens in the queue, are within what the
# service takes by default; a response that is larger goes by itself.
AT_ONCE = 100
BYTES_AT_ONCE = 131_072

Text = str | Sequence[Mapping[str, Any]]  # as it is, or a conversation
Number = Literal["raw", "score", "reward"]


class RewardFunction(Protocol):
    """What TRL awaits; other columns of its dataset and its own extras are not looked at."""

    __name__: str

    async def __call__(
        self, prompts: Sequence[Text], completions: Sequence[Text], **columns: object
    ) -> list[float]:
        """A reward for each response, in their order."""


class _Scores(Result):
    results: list[dict[str, Any]]
    model: dict[str, Any] | None = None
    reason: str | None = None


def reward_function(
    url: str | None = None,
    *,
    api_key: str | None = None,
    model: str | None = None,
    number: Number = "raw",
    deadline_s: float = 300.0,
    name: str = "heed",
) -> RewardFunction:
    """A function that has the reward service score a batch, and tries again while it is full.

    All rewards of one call come from one model version. Name a version in `model`, such as
    `reward@3`, to keep it for a whole training; the live one may change in between.

    Args:
        url: the reward service; else `HEED_REWARD_URL`, else http://127.0.0.1:8001.
        api_key: a key with the scope `score`; else `HEED_API_KEY`.
        model: which model; the live one when empty.
        number: `raw`, the reward itself; `score`, 0-1; `reward`, on the scale of earlier models.
        deadline_s: the most one request takes, with all its tries; then the training ends.
        name: under which TRL logs the rewards.

    Raises:
        HeedMisuse: there is no key, or the URL is none. The function itself raises `HeedProblem`
            when the service refuses or has no model, and `HeedUnreachable` when it is away.
    """
    service = find_service(url, api_key, REWARD_URL)
    retries = Retries(deadline_s=deadline_s)
    sender = Sender(Options(service, timeout_s=60.0, retries=retries))
    scorer = _Scorer(sender, model, number)

    async def reward(
        prompts: Sequence[Text], completions: Sequence[Text], **columns: object
    ) -> list[float]:
        pairs = zip(prompts, completions, strict=True)
        inputs = [_input(prompt, response) for prompt, response in pairs]
        # In a thread: the connections outlive the loop, and TRL may bring another one.
        return await asyncio.to_thread(scorer.rewards, inputs)

    reward.__name__ = name
    weakref.finalize(reward, sender.close)  # trainers drop their functions and close nothing
    return reward


class _Scorer:
    def __init__(self, sender: Sender, model: str | None, number: Number) -> None:
        self._sender = sender
        self._model = model
        self._number = number

    def rewards(self, inputs: Sequence[Mapping[str, Any]]) -> list[float]:
        """Rewards of one version, asked for in a few requests.

        Raises:
            HeedProblem: the service gave none for some of them.
        """
        model, found = self._model, list[float]()
        for part in _parts(inputs):
            scores = self._sender.send(self._call(part, model))
            rewards = [result.get(self._number) for result in scores.results]
            given = [reward for reward in rewards if reward is not None]
            if scores.model is None or len(given) < len(part):
                detail = scores.reason or f"The model gives no {self._number} of its responses."
                raise HeedProblem(Problem(status=200, code="no_rewards", detail=detail))
            found += given
            model = f"{scores.model['name']}@{scores.model['version']}"
        return found

    def _call(self, inputs: Sequence[Mapping[str, Any]], model: str | None) -> Call[_Scores]:
        extras = [self._number] if self._number != "score" else []
        body = {"inputs": inputs, "return": extras, **({"model": model} if model else {})}
        return Call("POST", "/score", _Scores, body=body)


def _parts(inputs: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Consecutive inputs of a request each."""
    part: list[Mapping[str, Any]] = []
    held = 0
    for one in inputs:
        size = len(to_json(one))
        if part and (len(part) == AT_ONCE or held + size > BYTES_AT_ONCE):
            yield part
            part, held = [], 0
        part.append(one)
        held += size
    if part:
        yield part


def _input(prompt: Text, response: Text) -> dict[str, Any]:
    """One response to one prompt; what came before the last message belongs to the prompt."""
    said = [] if isinstance(prompt, str) else list(prompt)
    answered = [] if isinstance(response, str) else list(response)
    text = response if isinstance(response, str) else _content(answered[-1]) if answered else ""
    if isinstance(prompt, str) and answered[:-1]:
        said = [{"role": "user", "content": prompt}]
    messages = [
        {"role": message.get("role") or "user", "content": _content(message)}
        for message in (*said, *answered[:-1])
    ]
    if messages:
        return {"messages": messages, "response": text}
    return {"prompt": prompt if isinstance(prompt, str) else "", "response": text}


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content may come in parts, or be a call of tools alone."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")
