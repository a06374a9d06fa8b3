"""A frame, and what of it each reader sees.

Telling ─┬► is_for: nobody below its level, nobody whom it isn't for
         ├► view: what the reader's frame depends on ─► equal: the same frame, made once
         └► frame_for: their own reactions, the answers they may know of, no message above them named

Must never show anybody more than `up_to` lets them know.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username
from etb_appservice.gateway import objects, told

_NOBODY = frozenset[Username]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One frame. `level`: whom it may be shown to; `only` and `but`: whom it is for, besides."""

    frame: told.ServerFrame
    level: Classification = Classification.PUBLIC
    only: frozenset[Username] = _NOBODY
    """Empty: everybody."""
    but: frozenset[Username] = _NOBODY
    sender: Username | None = None
    """Who is told `client_id`."""
    client_id: str = ""
    own: Mapping[Username, frozenset[str]] = field(default_factory=dict)
    """Whose reactions with which emoji a frame shows."""
    replies: Mapping[Classification, int] = field(default_factory=dict)
    """How many answers a reader may know of, by how far they may know."""
    orphans: frozenset[Classification] = frozenset()
    """Who may know so far isn't told what it answers."""
    named: Classification = Classification.PUBLIC
    """Below this nobody is told which message a file or a command belongs to."""

    def is_for(self, username: Username, up_to: Classification) -> bool:
        """Whether somebody is told at all."""
        return up_to >= self.level and (not self.only or username in self.only) and username not in self.but

    def view(self, username: Username, up_to: Classification) -> Hashable:
        """What a reader's frame depends on: equal, the same frame."""
        is_sender = bool(self.client_id) and username == self.sender
        is_named = up_to >= self.named
        return self.own.get(username), is_sender, self.replies.get(up_to), up_to in self.orphans, is_named

    def frame_for(self, username: Username, up_to: Classification) -> told.ServerFrame:
        """The frame as somebody sees it."""
        mine = self.own.get(username, frozenset[str]())
        match self.frame:
            case told.ChatMessage(message=message):
                client_id = self.client_id if self.client_id and username == self.sender else None
                return told.ChatMessage(message=self._seen(message, mine, up_to), client_id=client_id)
            case told.MessageUpdated(message=message):
                return told.MessageUpdated(message=self._seen(message, mine, up_to))
            case told.Reaction() as reaction if mine:
                return reaction.model_copy(update={"reactions": _marked(reaction.reactions, mine)})
            case told.CommandResult(command=command) if up_to < self.named:
                return told.CommandResult(command=command.model_copy(update={"message": None}))
            case told.FileShared(file=file) if up_to < self.named:
                return told.FileShared(file=file.model_copy(update={"message": None}), message_id=None)
            case frame:
                return frame

    def _seen(self, message: objects.Message, mine: frozenset[str], up_to: Classification) -> objects.Message:
        if not mine and not self.replies and not self.orphans:
            return message
        reactions = _marked(message.reactions, mine)
        update = {"reactions": reactions, "reply_count": self.replies.get(up_to, 0)}
        return message.model_copy(update=update | ({"reply_to": None} if up_to in self.orphans else {}))


def _marked(groups: Sequence[objects.ReactionGroup], mine: frozenset[str]) -> list[objects.ReactionGroup]:
    return [group.model_copy(update={"reacted_by_me": True}) if group.emoji in mine else group for group in groups]
