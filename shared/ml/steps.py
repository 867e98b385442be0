"""Rewards of single reasoning steps, and of a response as its worst or its mean step.

A process reward model is a reward model that learned from rated steps: its prompt is the prompt
with the steps so far, its response the step. Steps are paragraphs; blank lines part them.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest
from shared.ml.head import probability
from shared.ml.scorer import Pair, Scorer, Scores

MOST_STEPS = 100

Counts = NDArray[np.int64]

_BLANK_LINES = re.compile(r"\n\s*\n")


def step_pair(prompt: str, steps: Sequence[str]) -> Pair:
    """The last of some steps as the response to the prompt and the steps before it."""
    told = [_BLANK_LINES.sub("\n", step.strip()) for step in steps]
    return Pair("\n\n".join([prompt, *told[:-1]]), told[-1])


def steps_of(response: str) -> list[str]:
    """The paragraphs of a response; an empty response is one empty step.

    Where they are more than `MOST_STEPS`, neighbours make a step together: each step is read after
    all those before it, so that a response of thousands would take hours.
    """
    found = [part.strip() for part in _BLANK_LINES.split(response) if part.strip()] or [""]
    together = math.ceil(len(found) / MOST_STEPS)
    return ["\n".join(found[at : at + together]) for at in range(0, len(found), together)]


class ProcessScorer:
    """A model of steps as a `Scorer` of responses; see `Scorer`."""

    def __init__(self, of_steps: Scorer) -> None:
        """Score with a model that learned from steps; its manifest says how to sum them up."""
        self.of_steps = of_steps

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""
        return self.of_steps.manifest

    @property
    def engine(self) -> str:
        """What computes the rewards."""
        return self.of_steps.engine

    def score_steps(self, prompt: str, steps: Sequence[str]) -> Scores:
        """Scores of each step of some reasoning, given the prompt and the steps before it."""
        return self.of_steps.score(
            [step_pair(prompt, steps[:end]) for end in range(1, len(steps) + 1)]
        )

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of whole responses: the reward of the worst step, or the mean of all.

        The probability is the calibrated one of that reward. Details are known of steps only.
        """
        asked, counts = self.asked(pairs)
        return self.summed_up(self.of_steps.score(asked), counts)

    def asked(self, pairs: Sequence[Pair]) -> tuple[list[Pair], Counts]:
        """What the model of steps scores, response after response, and how many steps each has."""
        reasoning = [steps_of(pair.response) for pair in pairs]
        asked = [
            step_pair(pair.prompt, steps[:end])
            for pair, steps in zip(pairs, reasoning, strict=True)
            for end in range(1, len(steps) + 1)
        ]
        return asked, np.array([len(steps) for steps in reasoning], dtype=np.int64)

    def summed_up(self, scores: Scores, counts: Counts) -> Scores:
        """Scores of whole responses from those of their steps, as `asked` names them."""
        starts = np.cumsum(counts) - counts
        if self.manifest.process == "min":
            rewards = np.asarray(np.minimum.reduceat(scores.reward, starts))
        else:
            rewards = np.asarray(np.add.reduceat(scores.reward, starts) / counts)
        return Scores(
            rewards,
            probability(rewards, self.manifest.calibration),
            np.logical_or.reduceat(scores.truncated, starts),
            np.add.reduceat(scores.tokens, starts),
        )

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt."""
        return self.score([Pair(prompt, response) for response in responses])
