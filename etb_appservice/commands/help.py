"""`help`: what can be asked here, and how."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import EVERYWHERE, Answer, Command, command, nearest, place_of
from etb_appservice.flows.reference import each, people


@command(needs=Right.WITNESS, where=EVERYWHERE, example="help status", reads_only=True)
async def help(call: Call, about: str | None = None) -> Answer:  # noqa: A001 - the command's name
    """List the commands, or explain one."""
    place = place_of(call.room)
    here = {name: one for name, one in call.commands.items() if place in one.where}
    prefix = call.policy.commands.prefixes[0]
    if about is None:
        lines = [f"- `{prefix}{one.usage}`: {one.help}" for one in each(here)]
        return Answer("\n".join(["**What you can ask me here**", "", *lines]))
    name = about.removeprefix(prefix).casefold()
    if name in here:
        return Answer(_explain(here[name], prefix))
    close = nearest(name, list(here))
    hint = f" Did you mean `{prefix}help {close}`?" if close else ""
    return Answer(f"There is no command {code(name, 40)} here.{hint}", "FAILED")


def _explain(one: Command, prefix: str) -> str:
    lines = [f"`{prefix}{one.usage}`", "", one.help]
    if one.details:
        lines += ["", one.details]
    lines += ["", f"Example: `{prefix}{one.example or one.name}`"]
    return "\n".join([*lines, "", f"For {people(one)}."])
