"""Where ETB keeps each module, found out at start (docs/etb-contract.md 12).

For each module the known places are asked for one row: 200 with a list finds it, 401 or 403 proves that it is
there, 404 moves on. A module that is nowhere is switched off; one that could not be asked keeps its default
place. Neither is a verdict: a proxy answers 404 while ETB starts, and permissions change. Asking must change
nothing in ETB.

    could not be asked, or nowhere though nothing works without it ──> asked again at each `settle`
    nowhere, or forbidden ───────────────────────────────────────────> at each tenth
    found ───────────────────────────────────────────────────────────> not any more
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import structlog

from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.paths import PROBED, EtbPaths
from etb_appservice.etb.wire import kind_of

_log = structlog.get_logger(__name__)

NEEDED = frozenset({"incidents", "security"})
"""Modules without which there is nothing to do: no incident without one, nobody to invite without the other."""
_AT_ONCE = 4
_LOOK_AGAIN_EVERY = 10
"""How often `settle` is called per look at modules that are nowhere or forbidden."""


class Presence(Enum):
    """What the probe learned of a module."""

    FOUND = "found"
    FORBIDDEN = "needs permission"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """One module. `path` answered, or was asked last; `detail` is empty or says what to do."""

    module: str
    presence: Presence
    path: str
    detail: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nobody has to do anything: it was found, or ETB has no such module and the rest runs without."""
        return self.presence is Presence.FOUND or (self.presence is Presence.ABSENT and self.module not in NEEDED)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All modules, and the paths that follow from them."""

    modules: tuple[ModuleReport, ...]
    paths: EtbPaths

    @property
    def off(self) -> frozenset[str]:
        """Modules that are nowhere."""
        return frozenset(report.module for report in self.modules if report.presence is Presence.ABSENT)

    @property
    def unsettled(self) -> frozenset[str]:
        """Modules that could not be asked."""
        return frozenset(report.module for report in self.modules if report.presence is Presence.UNREACHABLE)


async def probe(client: EtbClient, paths: EtbPaths, modules: Iterable[str] = PROBED) -> ProbeReport:
    """Ask for these modules. Raises nothing of its own: what went wrong stands in the report."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(module: str) -> tuple[ModuleReport, EtbPaths]:
        async with turn:
            return await _find(client, module, paths)

    answers = await asyncio.gather(*(ask(module) for module in modules))
    table = dict(paths.table)
    for report, found in answers:
        table |= {key: path for key, path in found.table.items() if key.startswith(f"{report.module}.")}
    return ProbeReport(tuple(report for report, _ in answers), EtbPaths(table, paths.fixed))


async def _find(client: EtbClient, module: str, paths: EtbPaths) -> tuple[ModuleReport, EtbPaths]:
    key = f"{module}.{PROBED[module]}"
    refusals: list[str] = []
    path = paths.path(key)
    for candidate in paths.candidates(module):
        path = candidate.path(key)
        try:
            answer = await client.get(path, {"page_size": "1"}, tries=2)
        except Later as late:
            return ModuleReport(module, Presence.UNREACHABLE, path, str(late)), paths
        except Refused as no:
            if no.code in {"401", "403"}:
                return ModuleReport(module, Presence.FORBIDDEN, path, str(no)), candidate
            if no.code != "404":
                refusals.append(str(no))
            continue
        if _fits(answer, module):
            return ModuleReport(module, Presence.FOUND, path), candidate
        refusals.append(f"GET {path} answered {kind_of(answer)} that is no list")
    advice = f"not found at any known place; set etb.paths.{key} if ETB has it elsewhere"
    if module in NEEDED:
        advice += ", and see that etb.base_url is ETB's root: nothing works without this module"
    return ModuleReport(module, Presence.ABSENT, path, "; ".join((*refusals, advice))), paths


def _fits(answer: object, module: str) -> bool:
    match answer:
        case list() | {"results": list()}:
            return True
        case dict():
            return module == "monitoring"
        case _:
            return False


class Modules:
    """What is known of ETB's modules now; readers and hands look here before each call."""

    def __init__(self, client: EtbClient) -> None:
        self._client = client
        configured = EtbPaths.with_overrides(client.connection.paths)
        self._configured = configured
        self._report = ProbeReport((), configured)
        self._settled = 0
        self._turn = asyncio.Lock()

    @property
    def paths(self) -> EtbPaths:
        """The paths in force: the configured ones until a probe has found better."""
        return self._report.paths

    @property
    def report(self) -> ProbeReport:
        """The last probe; without modules before the first."""
        return self._report

    def is_off(self, module: str) -> bool:
        """Whether the last probe found the module nowhere; before a probe nothing is off."""
        return module in self._report.off

    def is_found(self, module: str) -> bool:
        """Whether it is known where the module is, and not only guessed."""
        there = (Presence.FOUND, Presence.FORBIDDEN)
        return any(one.module == module and one.presence in there for one in self._report.modules)

    async def probe(self) -> ProbeReport:
        """Ask ETB and go by its answer from now on."""
        self._adopt(await probe(self._client, self._configured))
        return self._report

    async def settle(self) -> None:
        """Probe if that was never done; later ask again for what isn't well, as the table above says.

        Called at each round of the watch; callers at the same time wait for each other.
        """
        async with self._turn:
            if not self._report.modules:
                await self.probe()
                return
            self._settled += 1
            is_time = self._settled % _LOOK_AGAIN_EVERY == 0
            again = [one.module for one in self._report.modules if _is_open(one, is_time=is_time)]
            if again:
                self._adopt(await probe(self._client, self._report.paths, again))

    def _adopt(self, news: ProbeReport) -> None:
        known = {report.module: report for report in self._report.modules}
        for found in news.modules:
            if found.module not in known or known[found.module].presence is not found.presence:
                _log.info("etb module probed", module=found.module, presence=found.presence.value, path=found.path)
            known[found.module] = found
        self._report = ProbeReport(tuple(known.values()), news.paths)


def _is_open(report: ModuleReport, *, is_time: bool) -> bool:
    """Whether a module is asked for again now."""
    match report.presence:
        case Presence.FOUND:
            return False
        case Presence.UNREACHABLE:
            return True
        case Presence.ABSENT:
            return is_time or report.module in NEEDED
        case Presence.FORBIDDEN:
            return is_time
