"""Somebody of ours on another homeserver: invited where the level allows it, kept out where it doesn't.

The two servers speak TLS on loopback and check each other's certificates.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.jsclient import JsClient, JsError
from tests.harness.sandbox import Sandbox
from tests.harness.scene import PASSWORD, Scene
from tests.harness.synapse import Synapse, two_federated


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Synapse, Synapse]]:
    first, second = await two_federated(tmp_path_factory.mktemp("servers"), slots=["etb"])
    try:
        yield first, second
    finally:
        await first.stop()
        await second.stop()


@pytest.fixture(scope="module")
async def scene(
    tmp_path_factory: pytest.TempPathFactory, servers: tuple[Synapse, Synapse], etb: Sandbox
) -> AsyncIterator[Scene]:
    first, second = servers
    folder: Path = tmp_path_factory.mktemp("service")
    async with Scene.open(
        folder, first, first.slots[0], etb,
        people={"entries": {"carol": second.mxid("carol")}},
        classification={"default": "INTERNAL", "by_category": {"Security": "RESTRICTED"}},
        rooms={"servers": [second.server_name]},
    ) as scene:  # fmt: skip
        await etb.set_oncall(None)
        await scene.account("alice")
        yield scene


@pytest.fixture(scope="module")
async def carol(servers: tuple[Synapse, Synapse]) -> AsyncIterator[JsClient]:
    """ETB's user carol, at home on the second server."""
    _, second = servers
    await second.register("carol", PASSWORD)
    async with await JsClient.start(second.url, "carol", PASSWORD) as client:
        yield client


async def test_who_is_elsewhere_is_invited_reads_the_card_and_is_answered(scene: Scene, carol: JsClient) -> None:
    alice = await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice", assignee="carol")
    room = await scene.join(alice, incident)
    # Their own server learns of the room by the invite alone, so they name a server that is in it.
    await carol.wait_for_invite(room=room, inviter=scene.bot)
    await carol.join(room, via=[scene.synapse.server_name])
    card = await scene.card(carol, room)
    assert "Checkout is slow" in card.current_content["body"]
    assert (await carol.shield(room, card.event_id)).clean
    answer = await scene.ask(carol, room, "!status")
    assert incident["incident_number"] in answer.body
    assert (await carol.shield(room, answer.event_id)).clean
    # What one says across the border the other reads, and the bot too.
    sent = await carol.send(room, "hello from next door")
    assert (await alice.wait_for(room=room, event_id=sent)).body == "hello from next door"
    assert (await scene.ask(alice, room, "!status")).body


async def test_who_is_elsewhere_can_not_enter_a_restricted_room(scene: Scene, carol: JsClient) -> None:
    operator, control = await scene.operator()
    alice = await scene.person("alice")
    incident = await scene.etb.declare(
        title="Ledger copied", reporter="alice", assignee="carol", category="Security"
    )
    room = await scene.join(alice, incident)
    await scene.card(alice, room)
    # Federation is switched off in the room's creation event: the invite itself is refused, and said so.
    told = await operator.wait_for(room=control, sender=scene.bot, body=carol.user_id)
    assert incident["incident_number"] in told.body
    with pytest.raises(JsError):
        await carol.join(room, via=[scene.synapse.server_name])
    assert carol.user_id not in await alice.members(room)
    assert room not in [invite.room_id for invite in await carol.invites()]
    assert (await scene.ask(alice, room, "!status")).body


async def test_members_of_either_server_can_not_invite(scene: Scene, carol: JsClient) -> None:
    incident = await scene.etb.declare(title="Mail is late", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    await carol.wait_for_invite(room=room, inviter=scene.bot)
    await carol.join(room, via=[scene.synapse.server_name])
    await scene.account("frank")
    for client in (alice, carol):
        with pytest.raises(JsError) as refusal:
            await client.invite(room, scene.mxid("frank"))
        assert refusal.value.errcode == "M_FORBIDDEN"
