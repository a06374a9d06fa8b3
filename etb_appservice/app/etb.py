"""ETB's side, wired: what is looked at again and again, incidents, people who are in rooms and legal holds."""

from collections.abc import Callable

from etb_appservice.app.foundation import Foundation
from etb_appservice.domain.ids import Username
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.holds import HoldWatch
from etb_appservice.etb.poll import Poller
from etb_appservice.etb.watched import PeopleWatch
from etb_appservice.ports import FactCodec


def poller_of(
    base: Foundation, decoder: IncidentDecoder, codec: FactCodec, accepted: Callable[[], None]
) -> Poller:
    """`accepted`: called after each commit of news."""

    async def people_inside() -> list[Username]:
        async with base.store.view() as view:
            inside = await view.rooms.inside("incident")
        return [name for one in inside if (name := base.policy.people.username(one)) is not None]

    return Poller(
        client=base.etb,
        modules=base.modules,
        reads=base.reader,
        decoder=decoder,
        store=base.store,
        keepsakes=base.keepsakes,
        clock=base.clock,
        encode_fact=codec.encode,
        people=PeopleWatch(
            client=base.etb,
            modules=base.modules,
            reads=base.reader,
            store=base.store,
            clock=base.clock,
            encode_fact=codec.encode,
            inside=people_inside,
            most=base.settings.clearance.users_per_poll,
            hold_s=base.policy.clearance.hold_s,
            accepted=accepted,
        ),
        holds=HoldWatch(
            client=base.etb,
            modules=base.modules,
            store=base.store,
            clock=base.clock,
            encode_fact=codec.encode,
            accepted=accepted,
        ),
        with_incidents=base.settings.etb.poll,
        interval_s=base.settings.etb.poll_interval_s,
        accepted=accepted,
    )
