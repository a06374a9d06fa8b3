"""The frames that clients send (docs/etb-contract.md 6.2), as the models that read them.

Read tolerantly: fields we don't know are passed over, everything we know is checked. What is wrong is told without
repeating anything that was sent, but for the client's own `client_id`.
"""

import uuid
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from etb_appservice.domain.emoji import MOST_EMOJI_BYTES
from etb_appservice.gateway.desk import DraftType, RefusalCode

MOST_FRAME_BYTES = 64 * 1024
MOST_HISTORY = 100
_MOST_CLIENT_ID = 128
_MOST_IDS = 100
_SAFE = 2**53 - 1
"""The whole numbers that every reader of JSON can hold."""
_MOST_TOLD = 5
"""How many mistakes of one frame are told."""

ErrorCode = RefusalCode | Literal["invalid_json", "unknown_type", "clearance_required"]


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _emoji(text: str) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > MOST_EMOJI_BYTES:
        raise ValueError(f"must be one emoji of at most {MOST_EMOJI_BYTES} bytes")
    return text


Id = Annotated[str, Field(max_length=45), AfterValidator(_uuid)]
Ids = Annotated[tuple[Id, ...], Field(max_length=_MOST_IDS)]
ClientId = Annotated[str, Field(max_length=_MOST_CLIENT_ID)]
Emoji = Annotated[str, Field(min_length=1), AfterValidator(_emoji)]
Content = Annotated[str, Field(min_length=1)]
Nonce = ClientId | Annotated[int, Field(ge=-_SAFE, le=_SAFE)] | Annotated[float, Field(allow_inf_nan=False)] | None


class Asked(BaseModel):
    """What every frame of a client's may hold."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    client_id: ClientId | None = None
    """The client's own name of the frame: told back with the message, or with the error."""


class ChatMessage(Asked):
    """Post a message."""

    type: Literal["chat_message"]
    content: Content
    message_type: DraftType = "TEXT"
    reply_to_id: Id | None = None
    mentioned_user_ids: Ids = ()
    attachment_ids: Ids = ()


class Reaction(Asked):
    """Give or withdraw a reaction."""

    type: Literal["reaction"]
    message_id: Id
    emoji: Emoji
    action: Literal["add", "remove"] = "add"


class Typing(Asked):
    """Say that one types; it expires by itself."""

    type: Literal["typing"]
    is_typing: bool = True


class Command(Asked):
    """Run a command: its text, or the message that holds it."""

    type: Literal["command", "execute_command"]
    command_text: str = ""
    message_id: Id | None = None
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class PinMessage(Asked):
    """Pin a message."""

    type: Literal["pin_message"]
    message_id: Id


class UnpinMessage(Asked):
    """Unpin a message."""

    type: Literal["unpin_message"]
    message_id: Id


class EditMessage(Asked):
    """Change one's own message."""

    type: Literal["edit_message"]
    message_id: Id
    content: Content


class Read(Asked):
    """Everything up to this message is read."""

    type: Literal["read"]
    message_id: Id


class History(Asked):
    """Messages before one, or the latest."""

    type: Literal["history"]
    before: Id | None = None
    limit: int = Field(default=50, ge=1, le=MOST_HISTORY)


class Ping(Asked):
    """Ask whether anybody is there."""

    type: Literal["ping"]
    nonce: Nonce = None


ClientFrame = (
    ChatMessage | Reaction | Typing | Command | PinMessage | UnpinMessage | EditMessage | Read | History | Ping
)
_CLIENT = TypeAdapter[ClientFrame](Annotated[ClientFrame, Field(discriminator="type")])
CLIENT_TYPES = frozenset(
    {
        "chat_message",
        "reaction",
        "typing",
        "command",
        "execute_command",
        "pin_message",
        "unpin_message",
        "edit_message",
        "read",
        "history",
        "ping",
    }
)


class Unacceptable(Exception):
    """A frame that can't be read, as the error frame has it."""

    def __init__(
        self, code: ErrorCode, detail: str, *, in_reply_to: str = "", client_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.code: ErrorCode = code
        self.detail = detail
        self.in_reply_to = in_reply_to
        self.client_id = client_id


def read_frame(text: str | bytes) -> ClientFrame:
    """Read what a client sent. Raises Unacceptable and nothing else, whatever it is."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise Unacceptable("invalid_json", "This is not JSON.") from None
    if not isinstance(value, dict):
        raise Unacceptable("invalid_json", "A frame must be one JSON object.")
    kind, client_id = value.get("type"), value.get("client_id")
    named = client_id if isinstance(client_id, str) and len(client_id) <= _MOST_CLIENT_ID else None
    if not isinstance(kind, str) or kind not in CLIENT_TYPES:
        detail = f"type must be one of: {', '.join(sorted(CLIENT_TYPES))}."
        raise Unacceptable("unknown_type", detail, client_id=named)
    try:
        return _CLIENT.validate_python(value)
    except ValidationError as error:
        detail = "; ".join(_mistakes(error))
        raise Unacceptable("validation_error", detail, in_reply_to=kind, client_id=named) from None


def _mistakes(error: ValidationError) -> Iterator[str]:
    """What is wrong with which field. Names what a frame may hold, and nothing that it holds."""
    for one in error.errors(include_input=False, include_url=False)[:_MOST_TOLD]:
        # The first place is the frame's type; what stands below `parameters` is the client's own.
        place = str(one["loc"][1]) if len(one["loc"]) > 1 else "the frame"
        message = one["msg"].removeprefix("Value error, ")
        yield f"{place}: {message}"
