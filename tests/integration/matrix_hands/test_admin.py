"""The admin API of a real homeserver: media, history, and who is an administrator."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.matrix.admin import SynapseAdmin
from etb_appservice.ops.clock import SystemClock
from tests.harness.http import MatrixError, MatrixUser
from tests.harness.synapse import Synapse


@dataclass
class Office:
    """An administrator's token, a user, and what they talk to."""

    synapse: Synapse
    http: aiohttp.ClientSession
    token: str
    user: MatrixUser

    @property
    def admin(self) -> SynapseAdmin:
        return self.with_token(self.token)

    def with_token(self, token: str, user_id: str = "") -> SynapseAdmin:
        name = UserId(user_id or self.synapse.mxid("an-admin"))
        return SynapseAdmin(self.synapse.url, token, name, self.synapse.server_name, self.http, SystemClock())

    async def put_media(self, content: bytes = b"sealed") -> str:
        url = f"{self.synapse.url}/_matrix/media/v3/upload"
        headers = {"Authorization": f"Bearer {self.user.access_token}"}
        async with self.http.post(url, data=content, headers=headers) as response:
            return str((await response.json())["content_uri"])

    async def media_status(self, mxc: str) -> int:
        url = f"{self.synapse.url}/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        async with self.http.get(url, headers={"Authorization": f"Bearer {self.user.access_token}"}) as response:
            return response.status


@pytest.fixture(scope="module")
async def office(synapse: Synapse) -> AsyncIterator[Office]:
    token = await synapse.register("an-admin", "a password of theirs", admin=True)
    async with aiohttp.ClientSession() as http, await synapse.user("somebody-here") as user:
        yield Office(synapse, http, token, user)


async def test_only_the_promoted_user_with_its_own_token_is_an_administrator(office: Office) -> None:
    assert await office.admin.is_admin()
    somebody = office.synapse.mxid("somebody-here")
    assert not await office.with_token(office.user.access_token, somebody).is_admin()
    assert not await office.with_token(office.token, somebody).is_admin(), "the token is another user's"
    with pytest.raises(Broken, match=r"homeserver\.admin_token"):
        await office.with_token("not-a-token-at-all").is_admin()


async def test_media_is_deleted_and_what_is_gone_is_no_error(office: Office) -> None:
    mxc, other = await office.put_media(), await office.put_media(b"another")
    assert await office.media_status(mxc) == 200
    assert [await office.admin.delete_media(mxc) for _ in range(2)] == [1, 0]
    assert await office.media_status(mxc) == 404
    assert await office.media_status(other) == 200
    for odd in ("mxc://elsewhere.org/x", "https://localhost/x", "mxc://localhost/", "mxc://localhost/a/b"):
        with pytest.raises(Refused, match="no media of"):
            await office.admin.delete_media(odd)


async def test_history_is_purged_before_a_moment_and_kept_after_it(office: Office) -> None:
    user = office.user
    room = RoomId(await user.create_room())
    old = [await user.send(room, f"old {number}") for number in range(5)]
    await user.redact(room, old[0])
    moment = office.synapse.query("SELECT max(origin_server_ts) FROM events WHERE room_id = ?", room)[0][0] + 1
    new = await user.send(room, "new")
    latest = await user.send(room, "latest")
    assert await office.admin.purge_history(room, moment)
    left = {row[0] for row in office.synapse.query("SELECT event_id FROM events WHERE room_id = ?", room)}
    assert not left & set(old)
    assert {new, latest} & left
    assert await office.admin.purge_history(room, moment), "or there is nothing left to purge"


async def test_a_room_of_nothing_before_and_a_stranger_are_answered(office: Office) -> None:
    room = RoomId(await office.user.create_room())
    assert not await office.admin.purge_history(room, 1)
    somebody = office.with_token(office.user.access_token, office.synapse.mxid("somebody-here"))
    for call in (somebody.purge_history(room, 1), somebody.delete_media("mxc://localhost/x")):
        with pytest.raises(Refused) as refused:
            await call
        assert refused.value.code == "M_FORBIDDEN"
    with pytest.raises(MatrixError):
        await office.user.request("GET", "/_synapse/admin/v1/users/x/admin")
