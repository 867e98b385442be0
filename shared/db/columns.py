"""Column types and constraint names the tables share."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Identity,
    MetaData,
    Sequence,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text, UserDefinedType
from sqlmodel import Field, SQLModel

from shared.ids import new_id

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: MetaData = SQLModel.metadata
metadata.naming_convention = NAMES

# One sequence numbers every row version of feedback and preferences and every recorded interaction,
# so that one bitmap names them all.
ROW_SEQ = Sequence("rlhf_row_seq", metadata=metadata)

Json = dict[str, Any]
JsonList = list[Any]
JSON_TYPE = JSONB(none_as_null=True)
TEXTS = ARRAY(Text)
MOMENT = DateTime(timezone=True)


class Xid8(UserDefinedType[int]):
    """The 64-bit id of the transaction that wrote a row; readers use it as a safe watermark."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def json_field(default: str | None = None) -> Any:
    """A JSONB column of any shape: nullable, or NOT NULL with a server default such as `{}`."""
    if default is None:
        return Field(default=None, sa_type=JSON_TYPE, nullable=True)
    return Field(
        sa_type=JSON_TYPE,
        nullable=False,
        sa_column_kwargs={"server_default": text(f"'{default}'::jsonb")},
    )


def now_field(*, primary_key: bool = False) -> Any:
    """A timestamptz column that the database fills with the time of the transaction."""
    return Field(
        default=None,
        sa_type=MOMENT,
        nullable=False,
        primary_key=primary_key,
        sa_column_kwargs={"server_default": text("now()")},
    )


def moment_field() -> Any:
    """A nullable timestamptz column."""
    return Field(default=None, sa_type=MOMENT, nullable=True)


def text_array() -> Any:
    """A NOT NULL text[] column, empty unless given."""
    return Field(
        default_factory=list,
        sa_type=TEXTS,
        nullable=False,
        sa_column_kwargs={"server_default": text("'{}'::text[]")},
    )


def flag(*, default: bool = False) -> Any:
    """A NOT NULL boolean column with a server default."""
    return Field(
        default=default,
        nullable=False,
        sa_column_kwargs={"server_default": text(str(default).lower())},
    )


def project() -> Any:
    """The project a row belongs to; 1 is the only one with an interface for now."""
    return Field(default=1, nullable=False, sa_column_kwargs={"server_default": text("1")})


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A CHECK that `column` holds one of the values (NULL passes where the column allows it)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def in_range(column: str, low: float, high: float) -> CheckConstraint:
    """A CHECK that `column` lies between two numbers, both included."""
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=f"{column}_range")


def uuid_key() -> Any:
    """A UUIDv7 primary key, made here."""
    return Field(default_factory=new_id, primary_key=True)


def identity_key(sa_type: Any = BigInteger) -> Any:
    """A primary key that the database counts up, bigint unless said."""
    return Field(default=None, primary_key=True, sa_type=sa_type, sa_column_args=(Identity(),))


def project_key() -> Any:
    """The project as the first part of a primary key."""
    return Field(
        default=1,
        primary_key=True,
        sa_column_kwargs={"server_default": text("1"), "autoincrement": False},
    )


def xid_field() -> Any:
    """The transaction that wrote the row version; see `Xid8`."""
    return Field(
        default=None,
        sa_type=Xid8,
        nullable=False,
        sa_column_kwargs={"server_default": text("pg_current_xact_id()")},
    )


def defaulted(value: str | int) -> Any:
    """A NOT NULL column with the same default here and in the database."""
    return Field(default=value, nullable=False, sa_column_kwargs={"server_default": str(value)})
