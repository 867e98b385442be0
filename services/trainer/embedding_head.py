"""Fitting the head of the embedding reward model from embedded pairs; no files, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from services.trainer.aspects import fit_aspects
from services.trainer.calibration import fit_calibration, good_labels
from services.trainer.dense_head import EVERYTHING, DenseFit, Search, fit_dense
from services.trainer.evidence import Items
from services.trainer.heads import Floats, Indices, fit_weights, grouped_folds
from services.trainer.likelihood.thresholds import Thresholds, combine
from services.trainer.reward_metrics import Metrics, auc
from services.trainer.uncertainty import fit_posterior, judged_items
from shared.contracts.manifest import Calibration, Feature
from shared.errors import NotEnoughData
from shared.ml.head import Embedded, RewardHead, dense_features, dense_width
from shared.ml.lexical import BUCKETS, LexicalWeights, inverse_document_frequencies, tfidf
from shared.ml.posterior import Posterior

LEXICAL_GRID = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class FittedReward:
    """A head, its calibration, and what the recipe itself measured.

    Attributes:
        rewards: out-of-fold reward of each item, shape (n,); none where the original mode cannot
            have them.
        thresholds: by which people rate on the reward's scale; of the default mode alone.
        posterior: how unsure the dense weights are; of the default mode alone.
    """

    head: RewardHead
    calibration: Calibration
    report: Metrics
    rewards: Floats = field(default_factory=lambda: np.empty(0))
    thresholds: Thresholds | None = None
    posterior: Posterior | None = None


def fit_original(
    embedded: Embedded,
    ratings: Sequence[float],
    groups: Indices,
    *,
    good_rating: float,
    test_share: float,
    seed: int,
) -> FittedReward:
    """Balanced logistic regression on "rating >= good_rating", judged on a stratified row split.

    Args:
        embedded: n joint embeddings.
        ratings: stars of each, shape (n,).
        groups: prompt group of each, shape (n,); the report's split ignores them, as the recipe
            does, and the out-of-fold rewards do not.
        good_rating: least rating that counts as good.
        test_share: share of rows that is kept for the report.
        seed: of the split.

    Raises:
        NotEnoughData: all rows are good or all are not, or there are too few to keep some back.
    """
    labels = (np.array(ratings, dtype=float) >= good_rating).astype(int)
    if min(labels.sum(), len(labels) - labels.sum()) < 2:
        raise NotEnoughData(
            f"Training needs responses rated both {good_rating:g} or more and below; "
            "collect both, or change --good-rating."
        )
    held = ceil(test_share * len(labels))
    if min(held, len(labels) - held) < 2:
        raise NotEnoughData(
            f"{held} of {len(labels)} rows would be held out, and two or more must be on either "
            "side; collect more feedback, or set another test_share."
        )
    features = dense_features(("text",), embedded)
    rows = train_test_split(
        np.arange(len(labels)), test_size=test_share, random_state=seed, stratify=labels
    )
    if len(np.unique(labels[rows[0]])) < 2:
        raise NotEnoughData(
            f"All {len(rows[0])} rows that are not held out are rated alike, so there is nothing "
            "to tell apart; collect more feedback, or set a smaller test_share."
        )
    with threadpool_limits(limits=1):
        model = _balanced().fit(features[rows[0]], labels[rows[0]])
    head = RewardHead(("text",), model.coef_[0].astype(np.float64), float(model.intercept_[0]))
    report = _row_report(head.rewards(embedded)[rows[1]], labels[rows[1]])
    calibration = Calibration(slope=1.0, intercept=0.0, method="logistic-head")
    rewards = _original_out_of_fold(features, labels, groups, test_share=test_share, seed=seed)
    return FittedReward(head, calibration, report, rewards)


def _original_out_of_fold(
    features: Floats, labels: Indices, groups: Indices, *, test_share: float, seed: int
) -> Floats:
    """Rewards by heads that never saw the prompt; empty where one would see one label only.

    They too leave out a share of the rows, prompts or not: a response without the other one to its
    prompt teaches the prompt's topic instead of its quality, and rewards spread wider for it.
    """
    if len(np.unique(groups)) < 2:
        return np.empty(0)
    rewards = np.empty(len(labels))
    for kept, held in grouped_folds(groups, seed=seed):
        learned = np.random.default_rng(seed).permutation(kept)[
            : round((1 - test_share) * len(kept))
        ]
        if len(np.unique(labels[learned])) < 2:
            return np.empty(0)
        with threadpool_limits(limits=1):
            model = _balanced().fit(features[learned], labels[learned])
        rewards[held] = model.decision_function(features[held])
    return rewards


def _balanced() -> LogisticRegression:
    return LogisticRegression(max_iter=1000, class_weight="balanced")


def _row_report(rewards: Floats, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Metrics:
    table = classification_report(
        labels, rewards >= 0, labels=[0, 1], target_names=["bad", "good"],
        output_dict=True, zero_division=0.0,
    )  # fmt: skip
    metrics: Metrics = {
        f"row_split_{label}_{name.removesuffix('-score')}": float(table[label][name])
        for label in ("good", "bad")
        for name in ("precision", "recall", "f1-score", "support")
    }
    accuracy = float(((rewards >= 0) == labels).mean())
    rows = {"row_split_rows": len(labels), "row_split_accuracy": accuracy}
    return metrics | rows | {"row_split_auc": auc(labels == 1, rewards)}


@dataclass(frozen=True)
class Described:
    """What the default mode knows of n items; their embeddings need not be kept beside it.

    Attributes:
        rows: dense features, shape (n, f).
        widths: of the blocks of features, in their order.
        responses: the texts; none where words play no part.
    """

    rows: Floats
    widths: Mapping[Feature, int]
    responses: Sequence[str] | None


def describe(embedded: Embedded, features: Sequence[Feature]) -> Described:
    """The features of items after the encoder, prompt and response apart.

    Args:
        embedded: the items.
        features: dense features to use, and `lexical` to add a model of the words.
    """
    dense = tuple(feature for feature in features if feature != "lexical")
    words = embedded.responses if "lexical" in features else None
    return Described(dense_features(dense, embedded), _widths(dense, embedded), words)


@dataclass(frozen=True)
class DefaultFit:
    """All that was said in one likelihood: the rewards of the default mode.

    Attributes:
        of: the n items, those rated by aspect alone among them.
        shares: what the dense part counts in the reward and, if there are words, what they count.
        rewards: out-of-fold reward of each item that is judged as a whole, shape (overall,).
        thresholds: by which people rate on the rewards' scale.
    """

    of: Described
    dense: DenseFit
    words: "_Words | None"
    shares: Floats
    rewards: Floats
    thresholds: Thresholds


def fit_rewards(
    of: Described, items: Items, *, seed: int, search: Search = EVERYTHING
) -> DefaultFit:
    """Weights of all features, their L2 by grouped cross-validation.

    Args:
        of: what is known of the n items.
        items: the items with their groups and evidence.
        seed: of the folds.
        search: what the dense part is chosen from.

    Raises:
        NotEnoughData: there are fewer than two prompt groups.
    """
    judged, groups = of.rows[: items.overall], items.groups[: items.overall]
    found = fit_dense(judged, items.evidence, groups, of.widths, seed=seed, search=search)
    words = None if of.responses is None else _fit_words(of.responses, items, seed=seed)
    together = np.stack([part.rewards for part in (found, words) if part is not None], axis=1)
    shares, thresholds = combine(together, items.evidence)
    return DefaultFit(of, found, words, shares, together @ shares, thresholds)


def finish_default(
    fit: DefaultFit, items: Items, features: Sequence[Feature], *, good_rating: float, seed: int
) -> FittedReward:
    """The head of a fit with its aspects, calibration and posterior.

    Args:
        fit: what `fit_rewards` found.
        items: those it was found for.
        features: those it was found for.
        good_rating: from here on a rated response counts as good in the calibration.
        seed: of the aspects' folds.
    """
    dense, words, shares = fit.dense, fit.words, fit.shares
    lexical = words.scaled(shares[-1]) if words else None
    offset = shares[0] * dense.offset + (shares[-1] * words.offset if words else 0.0)
    aspects, of_aspects = fit_aspects(fit.of.rows, items, fit.of.widths, seed=seed)
    head = RewardHead(tuple(features), shares[0] * dense.weights, -offset, lexical, aspects)
    report: Metrics = dense.report | {"dense_share": float(shares[0])}
    if words:
        report |= {"lexical_inverse_l2": words.inverse_l2, "lexical_share": float(shares[1])}
    report |= fit.thresholds.report() | of_aspects
    judged = judged_items(items.evidence, items.overall)
    prior = shares[0] * dense.prior
    posterior = fit_posterior(fit.of.rows[: items.overall], judged, fit.rewards, prior)
    calibration = _calibrate(fit.rewards, items, good_rating)
    return FittedReward(head, calibration, report, fit.rewards, fit.thresholds, posterior)


@dataclass(frozen=True)
class _Words:
    """A model of the words, the mean reward it gives, and its centred out-of-fold rewards."""

    idf: NDArray[np.float32]
    weights: Floats
    offset: float
    rewards: Floats
    inverse_l2: float

    def scaled(self, share: float) -> LexicalWeights:
        return LexicalWeights(self.idf, (share * self.weights).astype(np.float32))


def _fit_words(responses: Sequence[str], items: Items, *, seed: int) -> _Words:
    judged, groups = responses[: items.overall], items.groups[: items.overall]
    idf = inverse_document_frequencies(judged)
    rows = tfidf_rows(judged, idf)
    used = np.unique(rows.indices)
    fitted = fit_weights(rows[:, used], items.evidence, groups, grid=LEXICAL_GRID, seed=seed)
    weights = np.zeros(BUCKETS)
    weights[used] = fitted.weights
    offset = float((rows @ weights).mean())
    rewards = fitted.rewards - fitted.rewards.mean()
    return _Words(idf, weights, offset, rewards, fitted.inverse_l2)


def _widths(features: Sequence[Feature], embedded: Embedded) -> dict[Feature, int]:
    dim = embedded.response.shape[1]
    return {feature: dense_width([feature], dim) for feature in features}


def tfidf_rows(
    texts: Sequence[str], idf: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> csr_matrix:
    """TF-IDF of each text, shape (n, BUCKETS)."""
    rows = [tfidf(text, idf) for text in texts]
    ends = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    buckets = np.concatenate([buckets for buckets, _ in rows])
    values = np.concatenate([values for _, values in rows])
    return csr_matrix((values, buckets, ends), shape=(len(texts), BUCKETS))


def _calibrate(rewards: Floats, items: Items, good_rating: float) -> Calibration:
    rows, labels = good_labels(items, good_rating=good_rating)
    return fit_calibration(rewards[rows], labels)
