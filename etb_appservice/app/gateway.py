"""The chat API, wired: callers by ETB's profile endpoint, rooms by our tables."""

import json
from collections.abc import Sequence

from etb_appservice.app.foundation import Ground
from etb_appservice.app.loops import Own
from etb_appservice.app.sockets import redis_of
from etb_appservice.domain.facts import UsersSeen
from etb_appservice.domain.ids import UserId, Username, new_id
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.etb.profiles import EtbProfiles
from etb_appservice.etb.watched import USERS_LANE
from etb_appservice.flows.pace import Pace
from etb_appservice.gateway.asking import Asking
from etb_appservice.gateway.bots import bots
from etb_appservice.gateway.callers import Callers
from etb_appservice.gateway.desk import Desk
from etb_appservice.gateway.doors import Doors
from etb_appservice.gateway.fileroom import FileRoom
from etb_appservice.gateway.frame import Count, Frame, Public
from etb_appservice.gateway.gate import Gate, Online
from etb_appservice.gateway.links import PREFIXES, Links
from etb_appservice.gateway.objects import Bot
from etb_appservice.gateway.openapi import document
from etb_appservice.gateway.routes import ROUTES
from etb_appservice.gateway.tickets import OwnTickets, SharedTickets, Tickets
from etb_appservice.matrix.media import HomeserverMedia
from etb_appservice.matrix.server import Homeserver
from etb_appservice.render.pictures import PillowPictures


def bot_records() -> Sequence[Bot]:
    """The bots as the chat API shows them, but for what a command begins with."""
    return bots(())


def api_document() -> str:
    """The OpenAPI document as it is without a configured address."""
    return json.dumps(document(ROUTES, Links("", PREFIXES[0])), indent=2)


def file_room(base: Ground) -> FileRoom:
    """Where files come in and go out."""
    return FileRoom(
        media=HomeserverMedia(Homeserver(base.watcher)),
        pictures=PillowPictures(),
        places=base.policy.files.at_once,
    )


def tickets_of(base: Ground) -> Tickets:
    """Good at every process where a Redis is named, else at this one."""
    own = OwnTickets(base.clock)
    found = redis_of(base)
    return own if found is None else SharedTickets(own, found.url, found.name, found.keys)


def chat_api(base: Ground, own: Own, asking: Asking, desk: Desk, *, online: Online, count: Count) -> Frame:
    """Ready to be mounted on the public listener."""
    settings, policy = base.settings.gateway, base.policy

    async def learn(user: EtbUser) -> None:
        fact = UsersSeen(users=(user,))
        await own.accept(fact, "caller", new_id(base.clock.now_ms()), lane=USERS_LANE)

    def user_id(username: Username) -> UserId | None:
        return policy.people.user_id(username) or policy.ghosts.user_id(username)

    return Frame(
        gate=Gate(
            store=base.store,
            policy=policy,
            clock=base.clock,
            etb=base.reader,
            doors=Doors(base.store, policy),
            asking=asking,
            desk=desk,
            online=online,
            files=file_room(base),
            page_size=settings.page_size,
            most_page_size=settings.most_page_size,
        ),
        callers=Callers(
            EtbProfiles(base.etb, base.modules, limit_s=base.settings.etb.timeout_s),
            base.reader,
            base.store,
            policy,
            base.clock,
            user_id=user_id,
            learn=learn,
            cache_s=settings.token_cache_s,
        ),
        tickets=tickets_of(base),
        routes=ROUTES,
        public=Public(
            origin=settings.public_url,
            origins=frozenset(settings.origins),
            proxies=settings.trusted_proxies,
        ),
        pace=Pace(CommandPolicy(per_minute=settings.per_minute, burst=settings.burst)),
        per_minute=settings.per_minute,
        count=count,
    )
