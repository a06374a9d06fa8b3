"""Two Synapses federate over TLS on loopback, certificates verified."""

from pathlib import Path

from tests.harness.jsclient import JsClient
from tests.harness.synapse import two_federated


async def test_a_user_of_another_server_joins_and_reads_across_federation(tmp_path: Path) -> None:
    first, second = await two_federated(tmp_path, slots=["etb"])
    try:
        await first.register("alice", "secret")
        await second.register("bob", "secret")
        async with (
            await JsClient.start(first.url, "alice", "secret") as alice,
            await JsClient.start(second.url, "bob", "secret") as bob,
        ):
            room = await alice.create_room(preset="private_chat")
            await alice.invite(room, bob.user_id)
            await bob.wait_for_invite(room=room)
            await bob.join(room, via=[first.server_name])
            await alice.wait_for(room=room, type="m.room.member", state_key=bob.user_id)
            sent = await alice.send(room, "across the border")
            heard = await bob.wait_for(room=room, event_id=sent)
            assert heard.body == "across the border"
            assert (await bob.shield(room, sent)).clean
            assert bob.user_id == second.mxid("bob")
            assert first.slots[0].bot_mxid == first.mxid("etb")
    finally:
        await first.stop()
        await second.stop()
