"""The written knowledge behind the sample: questions with true and mistaken statements.

The statements live in text files beside this module so that they can be read and corrected
without touching code. Each question is four lines: ``agent? prompt``, ``+`` the key
statement, ``+`` the detail that completes it, ``-`` a plausible mistake about the same thing.
"""

from dataclasses import dataclass
from importlib.resources import files

AGENTS = {
    "rx": "prescription_agent",
    "triage": "triage_agent",
    "lab": "lab_agent",
    "policy": "climate_policy_agent",
    "energy": "energy_agent",
    "trace": "tracing_agent",
    "proof": "proofreading_agent",
}
DOMAINS = ("clinical", "climate", "neurons")
FAVOURITE_STEP = 12


@dataclass(frozen=True)
class Question:
    """One question of the sample and what may be said in reply to it."""

    domain: str
    topic: str
    agent_name: str
    prompt: str
    key: str
    detail: str
    mistake: str


@dataclass(frozen=True)
class Knowledge:
    """Every question, and the phrases that responses of any quality share."""

    questions: tuple[Question, ...]
    phrases: dict[str, tuple[str, ...]]

    def siblings(self, question: Question) -> list[Question]:
        """The other questions about the same topic."""
        return [q for q in self.questions if q.topic == question.topic and q is not question]

    def strangers(self, question: Question, *, favourite: bool) -> list[Question]:
        """The questions of the same domain about other topics, or only the favourites of them.

        Favourites stand for what a weak assistant falls back on whatever it is asked.
        """
        step = FAVOURITE_STEP if favourite else 1
        return [
            q
            for q in self.questions[::step]
            if q.domain == question.domain and q.topic != question.topic
        ]


def load_knowledge() -> Knowledge:
    """The questions of all domains in file order, with the shared phrases by section."""
    questions = [
        question
        for domain in DOMAINS
        for topic, lines in _sections(f"{domain}.txt").items()
        for question in _questions(domain, topic, lines)
    ]
    phrases = {name: tuple(lines) for name, lines in _sections("phrases.txt").items()}
    return Knowledge(tuple(questions), phrases)


def read_text(name: str) -> str:
    """The UTF-8 text of a file of this package."""
    return files("heed_cli.sample").joinpath(name).read_text(encoding="utf-8")


def _sections(name: str) -> dict[str, list[str]]:
    """The non-empty lines under each ``# heading``."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in filter(None, read_text(name).splitlines()):
        if line.startswith("# "):
            heading = line.removeprefix("# ")
            sections[heading] = []
        else:
            sections[heading].append(line)
    return sections


def _questions(domain: str, topic: str, lines: list[str]) -> list[Question]:
    return [_question(domain, topic, lines[i : i + 4]) for i in range(0, len(lines), 4)]


def _question(domain: str, topic: str, lines: list[str]) -> Question:
    agent, prompt = lines[0].split("? ", 1)
    key, detail, mistake = (line[2:] for line in lines[1:])
    return Question(domain, topic, AGENTS[agent], prompt, key, detail, mistake)
