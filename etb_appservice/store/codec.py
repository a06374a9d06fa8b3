"""Facts, effects and copies of ETB's objects as JSON bytes, and back. Must never put their texts into an error.

pydantic is driven by the domain's own dataclasses, so a new fact or effect needs nothing here. JSON and UTF-8
have no place for half of a surrogate pair; a text that holds one gets U+FFFD in its stead.
"""

import json
from enum import Enum
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from etb_appservice.domain.case import Entry
from etb_appservice.domain.conversation import FileDetails, MessageDetails
from etb_appservice.domain.effects import Effect
from etb_appservice.domain.facts import Fact
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.incident import Card, EtbUser, OnCall
from etb_appservice.domain.outcomes import Broken
from etb_appservice.domain.results import Outcome
from etb_appservice.domain.web import Ruling
from etb_appservice.ports import Known
from etb_appservice.store.errors import Unreadable

T = TypeVar("T")


class Shown(NamedTuple):
    """What is sealed of a room: name, card, who holds its key, whose direct chat it is, how it was made."""

    name: str
    card: Card | None
    holders: tuple[UserId, ...]
    person: UserId | None = None
    federates: bool = True
    hosts: tuple[str, ...] | None = None


@cache
def _facts() -> TypeAdapter[Fact]:
    return TypeAdapter(Annotated[Fact, Field(discriminator="kind")])


@cache
def _effects() -> TypeAdapter[Effect]:
    return TypeAdapter(Annotated[Effect, Field(discriminator="kind")])


@cache
def _entries() -> TypeAdapter[Entry]:
    return TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


@cache
def _known() -> TypeAdapter[Known]:
    return TypeAdapter(Known)


@cache
def _user() -> TypeAdapter[EtbUser]:
    return TypeAdapter(EtbUser)


@cache
def _on_call() -> TypeAdapter[tuple[OnCall, ...]]:
    return TypeAdapter(tuple[OnCall, ...])


@cache
def _shown() -> TypeAdapter[Shown]:
    return TypeAdapter(Shown)


@cache
def _details() -> TypeAdapter[MessageDetails]:
    return TypeAdapter(MessageDetails)


@cache
def _file() -> TypeAdapter[FileDetails]:
    return TypeAdapter(FileDetails)


@cache
def _ruling() -> TypeAdapter[Ruling]:
    return TypeAdapter(Ruling)


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    return TypeAdapter(Annotated[Outcome, Field(discriminator="kind")])


@cache
def _access() -> TypeAdapter[FileAccess]:
    return TypeAdapter(FileAccess)


def encode_fact(fact: Fact) -> bytes:
    """A fact as JSON."""
    return _encode(_facts(), fact)


def decode_fact(data: bytes) -> Fact:
    """Raises Unreadable."""
    return _decode(_facts(), data, "fact")


def encode_effect(effect: Effect) -> bytes:
    """An effect as JSON."""
    return _encode(_effects(), effect)


def decode_effect(data: bytes) -> Effect:
    """Raises Unreadable."""
    return _decode(_effects(), data, "effect")


def encode_entry(entry: Entry) -> bytes:
    """An entry of a case as JSON."""
    return _encode(_entries(), entry)


def decode_entry(data: bytes) -> Entry:
    """Raises Unreadable."""
    return _decode(_entries(), data, "entry of a case")


def encode_known(known: Known) -> bytes:
    """Our copy of an incident as JSON."""
    return _encode(_known(), known)


def decode_known(data: bytes) -> Known:
    """Raises Unreadable."""
    return _decode(_known(), data, "copy of an incident")


def encode_user(user: EtbUser) -> bytes:
    """Our copy of a user as JSON."""
    return _encode(_user(), user)


def decode_user(data: bytes) -> EtbUser:
    """Raises Unreadable."""
    return _decode(_user(), data, "copy of a user")


def encode_on_call(on_call: tuple[OnCall, ...]) -> bytes:
    """Who is on call as JSON."""
    return _encode(_on_call(), on_call)


def decode_on_call(data: bytes) -> tuple[OnCall, ...]:
    """Raises Unreadable."""
    return _decode(_on_call(), data, "copy of who is on call")


def encode_shown(shown: Shown) -> bytes:
    """What a room shows as JSON."""
    return _encode(_shown(), shown)


def decode_shown(data: bytes) -> Shown:
    """Raises Unreadable."""
    return _decode(_shown(), data, "card of a room")


def encode_ruling(ruling: Ruling) -> str:
    """How an act was decided, as JSON."""
    return _encode(_ruling(), ruling).decode()


def decode_ruling(data: str) -> Ruling:
    """Raises Unreadable."""
    return _decode(_ruling(), data.encode(), "ruling")


def encode_outcome(outcome: Outcome) -> str:
    """What a command did, as JSON."""
    return _encode(_outcomes(), outcome).decode()


def decode_outcome(data: str) -> Outcome:
    """Raises Unreadable."""
    return _decode(_outcomes(), data.encode(), "outcome of a command")


def encode_details(details: MessageDetails) -> bytes:
    """What a message carries as JSON."""
    return _encode(_details(), details)


def decode_details(data: bytes) -> MessageDetails:
    """Raises Unreadable."""
    return _decode(_details(), data, "message's details")


def encode_file(details: FileDetails) -> bytes:
    """What a file is as JSON."""
    return _encode(_file(), details)


def decode_file(data: bytes) -> FileDetails:
    """Raises Unreadable."""
    return _decode(_file(), data, "file's details")


def encode_access(access: FileAccess) -> bytes:
    """An access to a file as JSON."""
    return _encode(_access(), access)


def decode_access(data: bytes) -> FileAccess:
    """Raises Unreadable."""
    return _decode(_access(), data, "access to a file")


class FactJson:
    """`ports.FactCodec`."""

    def encode(self, fact: Fact) -> bytes:
        """A fact as JSON."""
        return encode_fact(fact)

    def decode(self, payload: bytes) -> Fact:
        """Raises Broken for bytes that are no fact."""
        try:
            return decode_fact(payload)
        except Unreadable as error:
            raise Broken(str(error)) from None


def whole(text: str) -> str:
    """`text` as every database takes it: no NUL, no half of a surrogate pair; U+FFFD stands where one was."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _encode(adapter: TypeAdapter[T], value: T) -> bytes:
    try:
        return adapter.dump_json(value)
    except (PydanticSerializationError, UnicodeEncodeError):
        return json.dumps(_mended(adapter.dump_python(value)), ensure_ascii=True).encode("ascii")


def _decode(adapter: TypeAdapter[T], data: bytes, what: str) -> T:
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        places = sorted(
            {".".join(map(str, one["loc"])) or "(all of it)" for one in error.errors(include_input=False)}
        )
    raise Unreadable(f"a stored {what} can't be read by this version: {', '.join(places)[:200]}")


def _mended(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_mended(key): _mended(item) for key, item in value.items()}
        case list() | tuple():
            return [_mended(item) for item in value]
        case _:
            return value
