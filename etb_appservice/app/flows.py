"""The flows, wired: all that decides, on whatever stands behind the ports. Tests of flows build theirs here."""

from collections.abc import Mapping

from etb_appservice.domain.policy import Policy
from etb_appservice.flows.answered import Answers
from etb_appservice.flows.breakglass import BreakGlasses
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.catchup import CatchUps
from etb_appservice.flows.chart import Charts
from etb_appservice.flows.chatops import Chatops
from etb_appservice.flows.closings import Closings
from etb_appservice.flows.commands import Command
from etb_appservice.flows.conversation import Conversation
from etb_appservice.flows.decide import Decider
from etb_appservice.flows.devices import UnsignedDevices
from etb_appservice.flows.duty import Duty
from etb_appservice.flows.export import Exports
from etb_appservice.flows.followups import FollowUps
from etb_appservice.flows.guard import StateGuard
from etb_appservice.flows.incidents import Incidents
from etb_appservice.flows.letters import Letters
from etb_appservice.flows.missing import Missing
from etb_appservice.flows.pages import by_reaction
from etb_appservice.flows.papers import Papers
from etb_appservice.flows.questions import Questions
from etb_appservice.flows.reactions import Reactions
from etb_appservice.flows.replies import Replies
from etb_appservice.flows.roomlife import RoomLife
from etb_appservice.flows.rooms import Rooms
from etb_appservice.flows.runbooks import Runbooks
from etb_appservice.flows.upgrades import Upgrades
from etb_appservice.flows.web import Web
from etb_appservice.flows.webrooms import WebRooms
from etb_appservice.flows.webruns import WebRuns
from etb_appservice.ports import Clock, Devices, EtbReads, Meter, Refusals, Store, Vitals
from etb_appservice.render.press import PaperPress
from etb_appservice.render.render import fits


def decider_of(
    *,
    store: Store,
    etb: EtbReads,
    policy: Policy,
    clock: Clock,
    commands: Mapping[str, Command],
    vitals: Vitals,
    meter: Meter,
    refusals: Refusals,
    devices: Devices,
) -> Decider:
    """Every flow once. `commands` by name and alias."""
    incidents = Incidents(etb, policy)
    conversation = Conversation(policy)
    press = PaperPress()
    letters = Letters(policy)
    cadences = Cadences(policy)
    questions = Questions(policy)
    chatops = Chatops(commands, questions, etb, policy, clock, vitals, meter, refusals)
    rooms = Rooms(policy, incidents, letters)
    replies = Replies(commands, policy, meter)
    follow_ups = FollowUps(store, chatops, questions, Runbooks(etb, policy), policy)
    duty = Duty(etb, policy)
    life = RoomLife(
        store,
        Closings(policy),
        Missing(etb, policy),
        Upgrades(policy, incidents),
        StateGuard(policy),
        UnsignedDevices(devices, policy),
        BreakGlasses(policy),
        WebRooms(incidents, Closings(policy), policy),
        cadences,
    )
    papers = Papers(Exports(store, press, policy), Charts(store, etb, press, policy), conversation)
    answers = Answers(rooms, conversation, replies, letters, cadences, follow_ups, duty, life, papers, policy)
    return Decider(
        store=store,
        incidents=incidents,
        rooms=rooms,
        conversation=conversation,
        chatops=chatops,
        replies=replies,
        letters=letters,
        cadences=cadences,
        reactions=Reactions(policy, cadences, by_reaction),
        catch_ups=CatchUps(policy),
        follow_ups=follow_ups,
        duty=duty,
        life=life,
        papers=papers,
        web=Web(WebRuns(store, chatops, questions, policy), policy, fits),
        answers=answers,
        rights=policy,
    )
