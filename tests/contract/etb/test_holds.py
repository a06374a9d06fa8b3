"""The watch over legal holds, against an ETB by script: what it says, and what it doesn't."""

from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.facts import Fact, HoldsSeen, Troubled
from etb_appservice.domain.holds import LegalHold
from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.holds import HoldWatch
from etb_appservice.etb.probe import Modules
from tests.harness.etb_parts import Answer, HandClock, KeptStore, ScriptedEtb, json_answer, page
from tests.harness.sandbox import Sandbox, seeded_id

Connect = Callable[..., EtbClient]
HOLDS = "/api/compliance/legal-holds/"
ONE, TWO = "11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"
H, H1, H2 = (f"a000000{number}-0000-4000-8000-000000000000" for number in range(3))


def row(name: str, *incidents: str, status: str = "ACTIVE") -> dict[str, Any]:
    return {"id": name, "status": status, "incidents": list(incidents)}


class Watch:
    def __init__(self, client: EtbClient, clock: HandClock, store: KeptStore) -> None:
        self.store, self.clock, self.modules = store, clock, Modules(client)
        self.facts: list[HoldsSeen] = []
        self.troubles: list[str] = []
        self.holds = HoldWatch(
            client=client, modules=self.modules, store=store, clock=clock, encode_fact=self._encode
        )

    def _encode(self, fact: Fact) -> bytes:
        match fact:
            case HoldsSeen():
                self.facts.append(fact)
            case Troubled(text=text):
                self.troubles.append(text)
            case _:
                raise AssertionError(fact)
        return repr(fact).encode()

    async def know(self, incident_id: str, *holds: str, changes: int = 1) -> None:
        entry = LegalHold(incident_id=IncidentId(incident_id), holds=holds, since_ms=1, changes=changes)
        async with self.store.work() as work:
            await work.cases.put(war_room_id(entry.incident_id), entry)

    async def seen(self) -> dict[str, tuple[str, ...]]:
        self.facts.clear()
        await self.holds.look()
        return {fact.incident_id: fact.holds for fact in self.facts}


@pytest.fixture
def watch(connect: Connect, clock: HandClock, store: KeptStore) -> Watch:
    return Watch(connect(), clock, store)


async def test_each_incident_that_a_hold_names_is_told_of_once(etb: ScriptedEtb, watch: Watch) -> None:
    etb.on(HOLDS, page([row(H2, ONE, TWO), row(H1, ONE)]))
    assert await watch.seen() == {ONE: (H1, H2), TWO: (H2,)}
    assert etb.asked(HOLDS)[0]["status"] == "ACTIVE"
    await watch.know(ONE, H1, H2)
    await watch.know(TWO, H2)
    assert await watch.seen() == {}


async def test_incidents_are_named_by_their_ids_or_as_objects(etb: ScriptedEtb, watch: Watch) -> None:
    etb.on(HOLDS, page([{"id": H, "status": "active", "incidents": [{"id": ONE, "title": "Mail"}]}]))
    assert await watch.seen() == {ONE: (H,)}


async def test_what_is_listed_and_over_holds_nothing_and_an_unknown_word_does(
    etb: ScriptedEtb, watch: Watch
) -> None:
    over = [row(H1, ONE, status=word) for word in ("RELEASED", "expired", "Draft")]
    etb.on(HOLDS, page([*over, row(H, TWO, status="IN_FORCE")]))
    assert await watch.seen() == {TWO: (H,)}


async def test_the_operators_word_for_a_status_counts(
    etb: ScriptedEtb, connect: Connect, clock: HandClock, store: KeptStore
) -> None:
    watch = Watch(connect(enums={"hold_status": {"Aktiv": "ACTIVE", "Beendet": "RELEASED"}}), clock, store)
    etb.on(HOLDS, page([row(H1, ONE, status="aktiv"), row(H2, ONE, status="beendet")]))
    assert await watch.seen() == {ONE: (H1,)}
    assert etb.asked(HOLDS)[0]["status"] == "Aktiv"


async def test_a_filter_that_etb_does_not_know_is_left_out(etb: ScriptedEtb, watch: Watch) -> None:
    etb.on(HOLDS, json_answer({"status": ["Select a valid choice."]}, 400), page([row(H, ONE)]))
    assert await watch.seen() == {ONE: (H,)}
    assert [asked.get("status") for asked in etb.asked(HOLDS)] == ["ACTIVE", None]


@pytest.mark.parametrize("status", ["RELEASED", "EXPIRED", "DRAFT"])
async def test_a_hold_that_is_listed_no_more_is_over_when_it_says_so_itself(
    etb: ScriptedEtb, watch: Watch, status: str
) -> None:
    await watch.know(ONE, H1, H2)
    etb.on(HOLDS, page([row(H2, ONE)]))
    etb.on(f"{HOLDS}{H1}/", json_answer(row(H1, ONE, status=status)))
    assert await watch.seen() == {ONE: (H2,)}


async def test_a_list_that_is_cut_ends_no_hold(etb: ScriptedEtb, watch: Watch) -> None:
    await watch.know(ONE, H1)
    etb.on(HOLDS, page([]))
    etb.on(f"{HOLDS}{H1}/", json_answer(row(H1, ONE)))
    assert await watch.seen() == {}


async def test_a_hold_that_no_longer_names_the_incident_lets_it_go(etb: ScriptedEtb, watch: Watch) -> None:
    await watch.know(ONE, H1)
    etb.on(HOLDS, page([row(H1, TWO)]))
    etb.on(f"{HOLDS}{H1}/", json_answer(row(H1, TWO)))
    assert await watch.seen() == {ONE: (), TWO: (H1,)}


async def test_of_two_incidents_that_a_list_lacks_each_goes_by_what_the_hold_says(
    etb: ScriptedEtb, watch: Watch
) -> None:
    await watch.know(ONE, H1)
    await watch.know(TWO, H1)
    etb.on(HOLDS, page([]))
    etb.on(f"{HOLDS}{H1}/", json_answer(row(H1, ONE)))
    assert await watch.seen() == {TWO: ()}


async def test_a_hold_that_etb_does_not_know_any_more_ends_after_minutes_of_that(
    etb: ScriptedEtb, watch: Watch
) -> None:
    await watch.know(ONE, H1)
    etb.on(HOLDS, page([]))
    assert await watch.seen() == {}
    watch.clock.ms += 299_000
    assert await watch.seen() == {}
    watch.clock.ms += 2_000
    assert await watch.seen() == {ONE: ()}


async def test_what_was_gone_for_a_moment_begins_anew(etb: ScriptedEtb, watch: Watch) -> None:
    await watch.know(ONE, H1)
    etb.on(HOLDS, page([]))
    assert await watch.seen() == {}
    etb.on(HOLDS, page([row(H1, ONE)]))
    assert await watch.seen() == {}
    watch.clock.ms += 600_000
    etb.on(HOLDS, page([]))
    assert await watch.seen() == {}


@pytest.mark.parametrize(("status", "failure"), [(500, Later), (403, Refused), (404, Refused), (401, Refused)])
async def test_an_etb_that_does_not_answer_ends_no_hold(
    etb: ScriptedEtb, watch: Watch, status: int, failure: type[Exception]
) -> None:
    await watch.know(ONE, H1)
    etb.on(HOLDS, json_answer({"detail": "no"}, status))
    with pytest.raises(failure):
        await watch.holds.look()
    assert watch.facts == []


@pytest.mark.parametrize(
    ("answer", "failure"), [(json_answer({"detail": "no"}, 500), Later), (json_answer({"id": H1}), Refused)]
)
async def test_a_hold_of_which_etb_does_not_say_goes_on_and_others_begin(
    etb: ScriptedEtb, watch: Watch, answer: Answer, failure: type[Exception]
) -> None:
    await watch.know(ONE, H1)
    etb.on(HOLDS, page([row(H2, TWO)]))
    etb.on(f"{HOLDS}{H1}/", answer)
    with pytest.raises(failure):
        await watch.holds.look()
    assert [(fact.incident_id, fact.holds) for fact in watch.facts] == [(TWO, (H2,))]


@pytest.mark.parametrize("status", [404, 405])
async def test_an_etb_without_such_a_list_keeps_none_and_that_is_no_failure(
    etb: ScriptedEtb, watch: Watch, status: int
) -> None:
    etb.on(HOLDS, json_answer({"detail": "Not found."}, status))
    assert await watch.seen() == {}
    assert not watch.holds.is_there
    etb.on(HOLDS, page([row(H, ONE)]))
    assert await watch.seen() == {ONE: (H,)}
    assert watch.holds.is_there


async def test_one_row_that_can_not_be_read_is_told_and_hides_no_other(etb: ScriptedEtb, watch: Watch) -> None:
    etb.on(HOLDS, page([{"id": H2, "status": "ACTIVE", "incidents": "all"}, row(H, ONE)]))
    with pytest.raises(Refused, match="a legal hold can't be read: incidents"):
        await watch.holds.look()
    assert [fact.incident_id for fact in watch.facts] == [ONE]


async def test_a_hold_that_names_no_incident_is_told_of_once(etb: ScriptedEtb, watch: Watch) -> None:
    etb.on(HOLDS, page([row(H1) | {"name": "Mail *of* all"}, row(H2, status="RELEASED")]))
    assert await watch.seen() == {}
    assert await watch.seen() == {}
    [text] = watch.troubles
    assert text.startswith(r"ETB has a legal hold in force that names no incident: **Mail \*of\* all**.")
    assert len(await watch.store.rows()) == 1


async def test_a_hold_of_very_many_incidents_holds_them_all(etb: ScriptedEtb, watch: Watch) -> None:
    many = [f"00000000-0000-4000-8000-{number:012}" for number in range(3000)]
    etb.on(HOLDS, page([row(H, *many)]))
    assert await watch.seen() == dict.fromkeys(many, (H,))


async def test_a_change_that_is_not_decided_yet_is_accepted_once_and_one_that_comes_back_again(
    etb: ScriptedEtb, watch: Watch
) -> None:
    etb.on(HOLDS, page([row(H, ONE)]))
    await watch.seen()
    await watch.seen()
    assert len(await watch.store.rows()) == 1
    await watch.know(ONE, changes=2)
    await watch.seen()
    assert len(await watch.store.rows()) == 2


async def test_with_compliance_switched_off_nothing_is_asked(etb: ScriptedEtb, watch: Watch) -> None:
    await watch.modules.probe()
    assert watch.modules.is_off("compliance")
    before = len(etb.requests)
    assert await watch.seen() == {}
    assert len(etb.requests) == before


async def test_the_sandbox_tells_of_its_hold_and_of_the_release(
    connect: Connect, clock: HandClock, store: KeptStore, sandbox: Sandbox
) -> None:
    watch = Watch(connect(base_url=sandbox.url, token=sandbox.token), clock, store)
    leak = seeded_id("Incident", "leak")
    seen = await watch.seen()
    [hold_id] = seen[leak]
    await watch.know(leak, hold_id)
    status, _ = await sandbox.call("POST", f"{HOLDS}{hold_id}/release/")
    assert status == 200
    assert await watch.seen() == {leak: ()}
