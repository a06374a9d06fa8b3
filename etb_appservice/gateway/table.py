"""A route as data: method, path, what it takes, what it answers. The frame serves it, the document tells it.

    @route("GET", "war-rooms/{id}/", answers={200: WarRoomDetail}, errors=(404,))
    async def war_room(call: Call[Nothing, Nothing]) -> Answer: ...

    TABLE = (war_room, …)                      every module in routes/ has one; frame.py puts them together

What isn't in a table isn't served, and what a table doesn't name isn't answered.
"""

import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.links import Links
from etb_appservice.gateway.objects import Ticket
from etb_appservice.gateway.uploads import Form

MOST_KEY = 255
"""Characters of an `Idempotency-Key`."""
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Query(BaseModel):
    """Parameters of a list. Whatever else stands in a query is ignored, as Django does."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Body(BaseModel):
    """What a caller sends, as JSON. Fields that we don't know are ignored, as Django REST Framework does."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Nothing(BaseModel):
    """No parameters, or no body."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Q, B]):
    """One request, checked: who asks, for what, with what."""

    gate: Gate
    caller: Caller
    path: Mapping[str, str]
    """The UUIDs in the path, lower case."""
    query: Q
    body: B
    links: Links
    ticket: Callable[[], Awaitable[Ticket]]
    """Makes a ticket for whoever calls."""
    key: str = ""
    """The `Idempotency-Key`, of routes that take one."""
    address: str = ""
    """From where they call, as this process sees it."""
    form: Form | None = None
    """What they send, where the route takes a form."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and an object that the route's table names for it."""

    body: BaseModel
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Bytes(BaseModel):
    """An answer that is a file's content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer in pieces, of so many bytes. `held` is closed once it was given out, or nobody takes it."""

    pieces: AsyncIterator[bytes]
    size: int
    headers: Mapping[str, str]
    held: AsyncExitStack
    still: Callable[[Caller], Awaitable[object]]
    """Whether the caller may still have it, as ETB has them by now; raises Problem where they may not. Asked again
    and again while it is given out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as the frame hands it to a route: whatever came from outside is unchecked."""

    gate: Gate
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    links: Links
    ticket: Callable[[], Awaitable[Ticket]]
    key: str = ""
    address: str = ""
    form: Form | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path."""

    method: Method
    path: str
    """Below the prefix, such as `war-rooms/{id}/`; every placeholder is a UUID."""
    name: str
    """Unique; `operationId` in the document."""
    summary: str
    details: str
    query: type[BaseModel]
    body: type[BaseModel]
    answers: Mapping[int, type[BaseModel]]
    errors: tuple[int, ...]
    """Besides those that the frame may answer anywhere."""
    takes_key: bool
    """Whether an `Idempotency-Key` makes a repetition answer what was done first."""
    run: Callable[[Asked], Awaitable[Answer | Stream]]
    """Checks query and body and calls the handler; raises pydantic's ValidationError, or Problem."""

    form: type[BaseModel] | None = None
    """What stands in the form that it reads, where it reads one."""

    @property
    def takes_body(self) -> bool:
        """Whether it reads JSON."""
        return self.body is not Nothing


def route(
    method: Method,
    path: str,
    *,
    answers: Mapping[int, type[BaseModel]],
    errors: tuple[int, ...] = (),
    takes_key: bool = False,
    form: type[BaseModel] | None = None,
) -> Callable[[Callable[[Call[Q, B]], Awaitable[Answer | Stream]]], Route]:
    """Make a route of a handler; its docstring is the documentation, its annotation says what it takes."""

    def made(handler: Callable[[Call[Q, B]], Awaitable[Answer | Stream]]) -> Route:
        query, body = _taken(handler)
        summary, _, details = (inspect.getdoc(handler) or "").partition("\n")

        async def run(asked: Asked) -> Answer | Stream:
            call = Call(
                gate=asked.gate,
                caller=asked.caller,
                path=asked.path,
                query=query.model_validate(asked.query),
                body=body.model_validate(asked.body),
                links=asked.links,
                ticket=asked.ticket,
                key=asked.key,
                address=asked.address,
                form=asked.form,
            )
            return await handler(call)

        return Route(
            method=method,
            path=path,
            name=handler.__name__,
            summary=summary.strip(),
            details=details.strip(),
            query=query,
            body=body,
            answers=answers,
            errors=errors,
            takes_key=takes_key,
            run=run,
            form=form,
        )

    return made


def _taken(handler: Callable[[Call[Q, B]], Awaitable[Answer | Stream]]) -> tuple[type[Q], type[B]]:
    """The models in the annotation `Call[Q, B]` of a handler's argument."""
    hints = typing.get_type_hints(handler)
    query, body = typing.get_args(hints["call"])
    return query, body
