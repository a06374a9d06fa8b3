"""Places go to the most urgent who waits, and never all of them to the patient."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etb_appservice.flows.gate import PATIENT, URGENT, USUAL, Gate


class Crowd:
    """People at a gate, each told when to leave."""

    def __init__(self, most: int, most_patient: int) -> None:
        self.gate = Gate(most, most_patient)
        self.inside: list[str] = []
        self.came: list[str] = []
        self.leaving: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(self, name: str, rank: int) -> None:
        self.leaving[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, rank))
        await self.settle()

    async def leaves(self, name: str) -> None:
        self.leaving[name].set()
        await self.tasks[name]
        await self.settle()

    async def gives_up(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.wait([self.tasks[name]])
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _visit(self, name: str, rank: int) -> None:
        async with self.gate.place(rank):
            self.inside.append(name)
            self.came.append(name)
            try:
                await self.leaving[name].wait()
            finally:
                self.inside.remove(name)


async def test_the_most_urgent_goes_in_first_and_equals_by_arrival() -> None:
    crowd = Crowd(1, 1)
    for name, rank in (
        ("a", USUAL),
        ("b", PATIENT + 2),
        ("c", PATIENT),
        ("d", USUAL),
        ("e", USUAL),
        ("f", URGENT),
    ):
        await crowd.comes(name, rank)
    for name in ("a", "f", "d", "e", "c", "b"):
        assert crowd.inside == [name]
        await crowd.leaves(name)
    assert crowd.came == ["a", "f", "d", "e", "c", "b"]


async def test_the_patient_leave_places_for_others() -> None:
    crowd = Crowd(3, 1)
    for name in ("p1", "p2", "p3"):
        await crowd.comes(name, PATIENT)
    assert crowd.inside == ["p1"]
    await crowd.comes("u1", USUAL)
    await crowd.comes("u2", USUAL)
    assert crowd.inside == ["p1", "u1", "u2"]
    await crowd.leaves("p1")
    assert crowd.inside == ["u1", "u2", "p2"]


@pytest.mark.parametrize("rank", [USUAL, PATIENT])
async def test_who_gives_up_holds_no_place(rank: int) -> None:
    crowd = Crowd(1, 1)
    await crowd.comes("a", rank)
    await crowd.comes("b", rank)
    await crowd.comes("c", rank)
    await crowd.gives_up("b")
    await crowd.leaves("a")
    assert crowd.inside == ["c"]
    await crowd.gives_up("c")
    await crowd.comes("d", rank)
    assert crowd.inside == ["d"]


async def test_who_is_let_in_and_gives_up_at_once_passes_the_place_on() -> None:
    crowd = Crowd(1, 1)
    await crowd.comes("a", USUAL)
    await crowd.comes("b", USUAL)
    await crowd.comes("c", USUAL)
    crowd.leaving["a"].set()
    await asyncio.wait([crowd.tasks["a"]])  # b's place is granted, but b has not run yet
    await crowd.gives_up("b")
    assert crowd.inside == ["c"]


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("comes"), st.integers(URGENT, PATIENT + 3)),
        st.tuples(st.sampled_from(["leaves", "gives up"]), st.integers(0, 20)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=_STEPS)
def test_no_place_is_ever_lost_or_given_twice(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        crowd = Crowd(3, 2)
        ranks: dict[str, int] = {}
        for number, (what, value) in enumerate(steps):
            there = [name for name, task in crowd.tasks.items() if not task.done()]
            if what == "comes":
                ranks[str(number)] = value
                await crowd.comes(str(number), value)
            elif there and what == "leaves" and crowd.inside:
                await crowd.leaves(crowd.inside[value % len(crowd.inside)])
            elif there and what == "gives up":
                await crowd.gives_up(there[value % len(there)])
            patient = [name for name in crowd.inside if ranks[name] >= PATIENT]
            assert len(crowd.inside) <= 3
            assert len(patient) <= 2
            waiting = [name for name, task in crowd.tasks.items() if not task.done() and name not in crowd.inside]
            for name in waiting:  # nobody waits at an open gate
                assert len(crowd.inside) == 3 or (ranks[name] >= PATIENT and len(patient) == 2)
        for task in crowd.tasks.values():
            task.cancel()
        await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)

    asyncio.run(run())
