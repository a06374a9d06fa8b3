"""How every part does, gathered from the parts themselves; asks nobody and waits for nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from etb_appservice.etb.poll import PollerState
from etb_appservice.etb.probe import ModuleReport, Presence
from etb_appservice.ports import Clock, Vital

_STALE_S = 120.0
TYPING = "typing"
_NOT_TOLD = (
    "the homeserver doesn't tell who types and who has read, so that ETB's pages don't show it: set "
    "`receive_ephemeral: true` in the registration and restart the homeserver"
)


@dataclass(slots=True)
class HouseVitals:
    """`Vitals` of a running service; the loops write down when they last did well."""

    clock: Clock
    watched: Callable[[], PollerState]
    """What the watch over ETB found in its last round."""
    modules: Callable[[], Sequence[ModuleReport]]
    """What is known of ETB's modules; empty before they were looked for."""
    watched_every_s: float
    polls_incidents: bool = True
    self_test: tuple[Vital, ...] = ()
    keys_synced_s: float | None = None
    rooms_looked_s: float | None = None
    refused_devices: int = 0
    key_requests_refused: int = 0
    events_fetched: int = 0
    tells_passing: Callable[[], bool | None] | None = None
    """Whether the homeserver tells who types and who has read; None where nobody wants to know, or not yet."""
    is_leading: bool = False
    started_s: float = field(default=0.0)

    def look(self) -> Sequence[Vital]:
        """Every part, the homeserver first."""
        return (
            Vital("service", self.is_leading, self._uptime()),
            self._loop("keys", self.keys_synced_s, f"room keys arrive by sync{self._refused_requests()}"),
            # The search for gaps runs in the background: nobody has to wait for it after a start.
            self._loop(
                "rooms",
                self.rooms_looked_s or self.started_s,
                f"{self.events_fetched} lost events fetched since the start",
            ),
            Vital(
                "devices",
                self.refused_devices == 0,
                f"{self.refused_devices} devices could not be given a key"
                if self.refused_devices
                else "every device was given its keys",
            ),
            self._etb(),
            *self._typing(),
            *(vital for vital in self.self_test if not vital.is_well),
        )

    def _loop(self, name: str, last_s: float | None, well: str) -> Vital:
        if last_s is None:
            return Vital(name, is_well=False, text="the homeserver has not answered yet")
        age_s = self.clock.monotonic() - last_s
        if age_s > _STALE_S:
            return Vital(name, is_well=False, text=f"the homeserver has not answered for {age_s:.0f} s")
        return Vital(name, is_well=True, text=well)

    def missed_signs(self) -> Vital | None:
        """That the homeserver doesn't tell who types and who has read, where it is to."""
        return next((one for one in self._typing() if not one.is_well), None)

    def _typing(self) -> Sequence[Vital]:
        tells = self.tells_passing() if self.tells_passing is not None else None
        if tells is None:
            return ()
        return (Vital(TYPING, tells, "is told by the homeserver" if tells else _NOT_TOLD),)

    def _refused_requests(self) -> str:
        """Whoever asks for keys instead of waiting for them is worth a look."""
        asked = self.key_requests_refused
        return f"; requests of others for keys, all refused: {asked} since the start" if asked else ""

    def _etb(self) -> Vital:
        """Well only when everything that ETB is needed for is known to work, and was a short while ago."""
        state, modules = self.watched(), self.modules()
        if state.trouble:
            return Vital("etb", is_well=False, text=state.trouble)
        if state.last_success_ms is None or not modules:
            return Vital("etb", is_well=False, text="was not asked yet")
        if ill := [one for one in modules if not one.is_well]:
            text = "; ".join(f"{one.module} {one.presence.value} ({one.detail})" for one in ill)
            return Vital("etb", is_well=False, text=text)
        if state.on_call_trouble:
            return Vital("etb", is_well=False, text=f"who is on call isn't known: {state.on_call_trouble}")
        if state.people_trouble:
            return Vital("etb", is_well=False, text=f"people's rights aren't confirmed: {state.people_trouble}")
        if state.holds_trouble:
            return Vital("etb", is_well=False, text=f"legal holds aren't known: {state.holds_trouble}")
        age_s = max(0, self.clock.now_ms() - state.last_success_ms) / 1000
        if age_s > _STALE_S + 2 * self.watched_every_s:
            return Vital("etb", is_well=False, text=f"has not answered for {age_s:.0f} s")
        absent = [one.module for one in modules if one.presence is Presence.ABSENT]
        absent += [] if state.keeps_holds or "compliance" in absent else ["legal holds"]
        without = f"; not there: {', '.join(absent)}" if absent else ""
        pushed = "" if self.polls_incidents else "; incidents come by webhook alone"
        return Vital("etb", is_well=True, text=f"answered {age_s:.0f} s ago{pushed}{without}")

    def _uptime(self) -> str:
        minutes = int(self.clock.monotonic() - self.started_s) // 60
        return f"leads, up for {minutes} min" if self.is_leading else "is starting"
