"""Makes texts with known identifiers from templates and lists; the same seed, the same texts.

A template is text with slots: `{name}` is a person, `{given}` and `{surname}` mention the same one
again, `{name2}` is a second person; every other slot is one identifier of its kind.
"""

import random
import re
import string
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from stdnum import luhn
from stdnum.gb import nhs
from stdnum.iban import calc_check_digits

from shared.privacy.masking import Entity, Span

SLOT = re.compile(r"\{(\w+?)(\d?)\}")
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@dataclass(frozen=True)
class Sources:
    """What one set of texts is made of; no list is shared with another set."""

    name: str
    templates: Sequence[str]
    given: Sequence[str]
    surnames: Sequence[str]
    streets: Sequence[str]
    towns: Sequence[tuple[str, str, str]]
    hosts: Sequence[str]
    birth_formats: Sequence[str]
    phone_formats: Sequence[str]
    record_formats: Sequence[str]
    address_formats: Sequence[str]
    plain: Sequence[str]
    listed_given: Sequence[str] = ()
    listed_surnames: Sequence[str] = ()

    def with_listed_names(self) -> "Sources":
        """The same texts with names that are on the masker's lists."""
        return replace(
            self,
            name=f"{self.name}_listed",
            given=self.listed_given,
            surnames=self.listed_surnames,
        )


def load(name: str) -> Sources:
    """The set of this name: `held_out`, or one that the recognisers were improved on."""
    content = Path(__file__).with_name(f"{name}.toml").read_text("utf-8")
    return Sources(name=name, **tomllib.loads(content))


@dataclass(frozen=True)
class Case:
    """One text, the identifiers in it, and which template it came from."""

    text: str
    entities: tuple[Span, ...]
    template: int


def make_cases(sources: Sources, per_template: int, seed: int) -> Iterator[Case]:
    """`per_template` texts of each template."""
    for number, template in enumerate(sources.templates):
        for copy in range(per_template):
            rng = random.Random(f"{seed}/{sources.name}/{number}/{copy}")
            yield _case(sources, template, number, rng)


def _case(sources: Sources, template: str, number: int, rng: random.Random) -> Case:
    people: dict[str, tuple[str, str]] = {}
    parts: list[str] = []
    entities: list[Span] = []
    length = done = 0
    for slot in SLOT.finditer(template):
        before = template[done : slot.start()]
        person = people.setdefault(slot[2], _person(sources, rng))
        kind, value = _value(slot[1], person, sources, rng)
        start = length + len(before)
        entities.append(Span(start, start + len(value), kind))
        parts += (before, value)
        length, done = start + len(value), slot.end()
    return Case("".join((*parts, template[done:])), tuple(entities), number)


def _person(sources: Sources, rng: random.Random) -> tuple[str, str]:
    return rng.choice(sources.given), rng.choice(sources.surnames)


def _value(
    slot: str, person: tuple[str, str], sources: Sources, rng: random.Random
) -> tuple[Entity, str]:
    if (how := NAME_FORMS.get(slot)) is not None:
        return Entity.NAME, how(*person)
    kind, make = MAKERS[slot]
    return kind, make(sources, rng)


NAME_FORMS: dict[str, Callable[[str, str], str]] = {
    "name": lambda given, surname: f"{given} {surname}",
    "given": lambda given, surname: given,
    "surname": lambda given, surname: surname,
    "reversed": lambda given, surname: f"{surname.upper()}, {given}",
    "initial": lambda given, surname: f"{given[0]}. {surname}",
    "lower": lambda given, surname: f"{given} {surname}".lower(),
    "upper": lambda given, surname: f"{given} {surname}".upper(),
}


def _fill(pattern: str, rng: random.Random) -> str:
    """`#` becomes a digit, `%` one from 2 to 9, `@` a letter."""
    pick = {
        "#": lambda: rng.choice(string.digits),
        "%": lambda: rng.choice("23456789"),
        "@": lambda: rng.choice("ABCDEFGHJKLMNPRSTUVWXY"),
    }
    return "".join(pick[char]() if char in pick else char for char in pattern)


def _birth(sources: Sources, rng: random.Random) -> str:
    born = date(1928, 1, 1) + timedelta(days=rng.randrange(33_000))
    return _dated(rng.choice(sources.birth_formats), born)


def _dated(pattern: str, day: date) -> str:
    month = MONTHS[day.month - 1]
    return pattern.format(
        y=day.year, yy=day.year % 100, m=day.month, d=day.day, M=month, b=month[:3]
    )


def _address(sources: Sources, rng: random.Random) -> str:
    town, state, code = rng.choice(sources.towns)
    return rng.choice(sources.address_formats).format(
        house=rng.randrange(1, 980),
        flat=rng.randrange(1, 40),
        street=rng.choice(sources.streets),
        town=town,
        state=state,
        code=_fill(code, rng),
    )


def _email(sources: Sources, rng: random.Random) -> str:
    given, surname = (
        part.lower().replace("'", "").replace(" ", "") for part in _person(sources, rng)
    )
    user = rng.choice(
        (f"{given}.{surname}", f"{given[0]}{surname}", f"{given}_{rng.randrange(99)}")
    )
    return f"{user}@{rng.choice(sources.hosts)}"


def _url(sources: Sources, rng: random.Random) -> str:
    given, surname = (part.lower() for part in _person(sources, rng))
    path = rng.choice(("users/{}", "profile/{}", "portal?patient={}", "~{}"))
    return (
        f"https://{rng.choice(sources.hosts)}/{path.format(f'{given}-{surname}'.replace(' ', ''))}"
    )


def _nhs(_: Sources, rng: random.Random) -> str:
    """A number with a right check digit."""
    whole = ""
    while not nhs.is_valid(whole):
        whole = _fill("9#########", rng)
    return rng.choice((whole, f"{whole[:3]} {whole[3:6]} {whole[6:]}"))


def _card(_: Sources, rng: random.Random) -> str:
    digits = rng.choice(("4", "51", "55")) + _fill("#" * 14, rng)
    digits = digits[:15] + luhn.calc_check_digit(digits[:15])
    return rng.choice((digits, " ".join(digits[i : i + 4] for i in range(0, 16, 4))))


def _iban(_: Sources, rng: random.Random) -> str:
    account = _fill("WEST" + "#" * 14, rng)
    whole = f"GB{calc_check_digits('GB00' + account)}{account}"
    return rng.choice((whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))))


def _formatted(field: str) -> Callable[[Sources, random.Random], str]:
    return lambda sources, rng: _fill(rng.choice(getattr(sources, field)), rng)


MAKERS: dict[str, tuple[Entity, Callable[[Sources, random.Random], str]]] = {
    "dob": (Entity.DATE_OF_BIRTH, _birth),
    "age": (Entity.AGE, lambda _, rng: str(rng.randrange(90, 106))),
    "mrn": (Entity.RECORD_NUMBER, _formatted("record_formats")),
    "nhs": (Entity.NATIONAL_ID, _nhs),
    "ssn": (Entity.NATIONAL_ID, lambda _, rng: _fill("5%#-4%-%###", rng)),
    "phone": (Entity.PHONE, _formatted("phone_formats")),
    "email": (Entity.EMAIL, _email),
    "address": (Entity.ADDRESS, _address),
    "card": (Entity.CARD, _card),
    "iban": (Entity.BANK_ACCOUNT, _iban),
    "ip": (
        Entity.IP_ADDRESS,
        lambda _, rng: ".".join(str(rng.randrange(1, 255)) for _ in range(4)),
    ),
    "url": (Entity.URL, _url),
}
