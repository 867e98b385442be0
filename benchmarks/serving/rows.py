"""What is asked of whom: every row puts the same questions to each of its sides in turn."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ingest_servers import Server
from benchmarks.serving.load import Run, Target, closed_loop, percentile
from benchmarks.serving.place import Deployment
from benchmarks.serving.texts import CANDIDATES, Texts

LONG_PROMPT_TOKENS, SHORT_CANDIDATES, SHORT_TOKENS = 400, 20, 20
MOST_QUESTIONS = 1500


@dataclass(frozen=True)
class Question:
    """A query and its candidates."""

    query: str
    documents: Sequence[str]


@dataclass(frozen=True)
class Side:
    """One server as it is asked: a route, and a question as its body."""

    server: Server
    target: Target
    body: Callable[[Question], dict[str, Any]]

    def encode(self, question: Question) -> bytes:
        """The body of one request."""
        return json.dumps(self.body(question)).encode()


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    sides: Sequence[str]
    draw: Callable[[Texts], Question]
    clients: int = 1
    share: float = 1.0  # of the seconds of a run


@dataclass(frozen=True)
class Measured:
    """One run of one side, with what it cost."""

    run: Run
    candidates: int
    server_cpu_s: float

    @property
    def candidates_per_s(self) -> float:
        """Candidates scored a second."""
        return self.run.per_s * self.candidates

    @property
    def scored(self) -> int:
        """Candidates scored."""
        return self.run.statuses.get(200, 0) * self.candidates


def sides(deployment: Deployment, ours: Server, infinity: Server | None) -> dict[str, Side]:
    """Everyone who can be asked."""
    found = {
        "ours": _ours(deployment, ours, "/rerank", _rerank),
        "ours_score": _ours(deployment, ours, "/score", _score),
        "ours_prompt_once": _ours(
            deployment, ours, "/rerank", lambda it: _rerank(it) | {"model": "wide"}
        ),
        "ours_joined": _ours(
            deployment, ours, "/rerank", lambda it: _rerank(it) | {"model": "joined"}
        ),
    }
    if infinity is None:
        return found
    return found | {
        "infinity": Side(infinity, Target(infinity.port, "/rerank"), _infinity_rerank),
        "infinity_embeddings": Side(
            infinity, Target(infinity.port, "/embeddings"), _infinity_embeddings
        ),
    }


def rows() -> dict[str, Row]:
    """The lines, in the order in which each round measures them."""
    pair = ("ours", "infinity")
    same = Texts(77).query()
    return {
        "rerank_1_client": Row(pair, _ten, clients=1),
        "rerank_8_clients": Row(pair, _ten, clients=8),
        "rerank_32_clients": Row(pair, _ten, clients=32),
        "single": Row(("ours_score", "infinity_embeddings", "infinity"), _one, share=0.6),
        "ten_of_40_cold": Row(("ours",), lambda it: _ten(it, 40), share=0.5),
        "ten_of_40_cached": Row(("ours",), lambda it: _ten(it, 40, same), share=0.5),
        "ten_of_80_cold": Row(("ours",), lambda it: _ten(it, 80), share=0.5),
        "ten_of_80_cached": Row(("ours",), lambda it: _ten(it, 80, same), share=0.5),
        "long_prompt": Row(("ours_prompt_once", "ours_joined", "infinity"), _long, share=0.6),
    }


def measure(side: Side, row: Row, *, seconds: float, seed: int) -> Measured:
    """One run; the same seed asks the same questions of every side."""
    texts = Texts(seed)
    most = min(MOST_QUESTIONS, round(60 * seconds * row.share) + 10 * row.clients)
    questions = [row.draw(texts) for _ in range(most)]
    bodies, before = [side.encode(question) for question in questions], side.server.cpu_s
    run = closed_loop(side.target, bodies, clients=row.clients, seconds=seconds * row.share)
    return Measured(run, len(questions[0].documents), side.server.cpu_s - before)


def summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """Medians over the rounds, every rate, and whatever went wrong."""
    rates = [round(one.candidates_per_s, 1) for one in runs]
    latencies = [ms for one in runs for ms in one.run.latencies_ms]
    asked = sum(sum(one.run.statuses.values()) for one in runs)
    replied = max(1, sum(one.run.statuses.get(200, 0) for one in runs))
    seconds = sum(one.run.seconds for one in runs)
    return {
        "candidates_per_s": statistics.median(rates),
        "every_rate": rates,
        "p50_ms": round(statistics.median(one.run.p50_ms for one in runs), 2),
        "p99_ms": round(percentile(latencies, 0.99), 2),
        "server_cpu_ms_per_reply": round(1000 * sum(r.server_cpu_s for r in runs) / replied, 2),
        "load_cpu_share": round(sum(one.run.load_cpu_s for one in runs) / seconds, 3),
        "requests": asked,
        "failed": sum(one.run.failed for one in runs),
    }


def _ours(
    deployment: Deployment, server: Server, path: str, body: Callable[[Question], dict[str, Any]]
) -> Side:
    return Side(server, deployment.target(server, path), body)


def _ten(texts: Texts, tokens: int | None = None, query: str | None = None) -> Question:
    return Question(query or texts.query(), texts.documents(CANDIDATES, tokens))


def _one(texts: Texts) -> Question:
    return Question(texts.query(), texts.documents(1))


def _long(texts: Texts) -> Question:
    documents = texts.documents(SHORT_CANDIDATES, SHORT_TOKENS)
    return Question(texts.query(LONG_PROMPT_TOKENS), documents)


def _rerank(question: Question) -> dict[str, Any]:
    return {"query": question.query, "documents": question.documents}


def _score(question: Question) -> dict[str, Any]:
    return {"inputs": [{"prompt": question.query, "response": question.documents[0]}]}


def _infinity_rerank(question: Question) -> dict[str, Any]:
    return _rerank(question) | {"model": "rerank", "return_documents": False}


def _infinity_embeddings(question: Question) -> dict[str, Any]:
    return {"model": "embed", "input": [f"{question.query} {question.documents[0]}"]}
