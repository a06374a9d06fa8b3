"""The floor of a round trip: an application service that answers in clear text and remembers nothing.

python -m benchmarks.floors.echo HOMESERVER AS_TOKEN HS_TOKEN BOT PORT
"""

import asyncio
import itertools
import sys
from urllib.parse import quote

import aiohttp
from aiohttp import web

_TOLD = itertools.count()


async def main(homeserver: str, as_token: str, hs_token: str, bot: str, port: str) -> None:
    tasks: set[asyncio.Task[None]] = set()
    headers = {"Authorization": f"Bearer {as_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def answer(room: str) -> None:
            url = f"{homeserver}/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/{next(_TOLD)}"
            body = {"msgtype": "m.notice", "body": "echo"}
            async with http.put(url, params={"user_id": bot}, json=body) as response:
                await response.read()

        async def transaction(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != f"Bearer {hs_token}":
                return web.json_response({}, status=403)
            for event in (await request.json())["events"]:
                if event["type"] == "m.room.message" and event["sender"] != bot:
                    task = asyncio.create_task(answer(event["room_id"]))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            return web.json_response({})

        app = web.Application()
        app.router.add_put("/_matrix/app/v1/transactions/{txn}", transaction)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port)).start()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
