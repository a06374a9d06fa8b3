"""Start the development stack and show the main job. Called by ./synapse-dev/up, which makes the environment."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "synapse-dev")]

from stack.parts import DOMAIN, OPERATOR, Stack  # noqa: E402 - the path comes first
from stack.state import RUN, Progress, StackError, State, only_one, wipe  # noqa: E402
from stack.story import RESPONDER, Story, tell  # noqa: E402

from tests.harness.http import MatrixError  # noqa: E402
from tests.harness.jsclient import JsError  # noqa: E402
from tests.harness.processes import ProcessFailed  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./synapse-dev/up",
        description="Starts Synapse, the ETB sandbox and the service on loopback, shows how an incident becomes an"
        " encrypted room in which the bot answers, and stays up until Ctrl-C. Everything lives in .run/.",
    )
    parser.add_argument("--fresh", action="store_true", help="wipe what earlier starts left, then start")
    parser.add_argument(
        "--exit", action="store_true", help="end after the main job; status 0 if the answer was read"
    )
    return parser.parse_args()


async def run(options: argparse.Namespace, progress: Progress) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    if options.fresh:
        progress.say(f"wiping {RUN}")
        wipe()
    state, kept = State.load()
    progress.say("going on from the last start (--fresh wipes it)" if kept else f"making everything new in {RUN}")
    stack = Stack(state, progress)
    try:
        return await live(options, stack, progress)
    except (StackError, JsError, MatrixError, ProcessFailed, TimeoutError) as error:
        progress.say(f"failed: {error}")
        progress.say(f"logs: {RUN / 'logs'} and {RUN / 'synapse' / 'synapse.log'}")
        return 1
    except asyncio.CancelledError:
        return 1 if options.exit else 0
    finally:
        progress.say("stopping")
        await stack.stop()
        progress.say("stopped")


async def live(options: argparse.Namespace, stack: Stack, progress: Progress) -> int:
    await stack.start()
    story = await tell(stack, progress)
    summary(story)
    if options.exit:
        return 0
    instructions(stack.state, story)
    ended = await stack.wait_for_an_end()
    progress.say(f"a part has ended by itself: {ended}")
    return 1


def summary(story: Story) -> None:
    print("\n  seconds  step")
    for what, seconds in story.steps:
        print(f"  {seconds:7.3f}  {what}")
    print(f"  {sum(seconds for _, seconds in story.steps):7.3f}  from the report in ETB to the answer, in all\n")


def instructions(state: State, story: Story) -> None:
    homeserver = state.url("synapse")
    print(f"homeserver  {homeserver} (server name {DOMAIN})")
    print(f"ETB sandbox {state.url('sandbox')} (log in as bob with bob-sandbox)")
    print(f"service     {state.url('appservice')}/health, /metrics; configuration in {RUN / 'service'}")
    print(f"logins      (also in {RUN / 'stack.json'})")
    for name, person in state.people.items():
        operator = ", operator: also invited to the control room" if name == OPERATOR else ""
        print(f"            @{name}:{DOMAIN}  password {person.password}{operator}")
    print(f"            recovery key of {RESPONDER}: {state.people[RESPONDER].recovery_key}")
    print(f"""
To open the room in Element (Element Desktop, or https://app.element.io in this machine's browser):
  1. Sign in, "Edit" the homeserver, choose "Other homeserver" and give {homeserver}
  2. User name {RESPONDER}, the password above; confirm the identity with the recovery key above.
  3. Open the room {story.alias}
     (https://app.element.io/#/room/{story.alias})
  4. Send !status or !help.

Ctrl-C stops everything; the next ./synapse-dev/up goes on from here.
""", flush=True)  # fmt: skip


def main() -> int:
    options = arguments()
    progress = Progress(float(os.environ.get("BOOTSTRAP_SECONDS", "0")))
    try:
        with only_one():
            return asyncio.run(run(options, progress))
    except StackError as error:
        progress.say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
