"""The ping races with Synapse's own retry; what can't be helped says what to do."""

from typing import Any

import pytest
from mautrix.errors import make_request_error

from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.matrix.api import outcome_of
from etb_appservice.matrix.ping import ping


class Waits:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def now_ms(self) -> int:
        return 1

    def monotonic(self) -> float:
        return sum(self.waited)

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


class Scripted:
    """A homeserver that answers one thing after another."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def ask(self, *_call: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, tuple):
            error = make_request_error(answer[0], "", answer[1], "why")
            raise outcome_of(error) from error
        return answer


async def pinged(*answers: Any) -> tuple[int, list[float]]:
    clock = Waits()
    return await ping(Scripted(*answers), "etb", clock, tries=3), clock.waited  # type: ignore[arg-type]


async def test_a_502_of_the_race_is_asked_again_with_growing_pauses() -> None:
    race = (502, "M_BAD_STATUS")
    assert await pinged(race, (504, "M_CONNECTION_TIMEOUT"), {"duration_ms": 7}) == (7, [0.25, 0.5])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((502, "M_BAD_STATUS"), "appservice.hs_token"),
        ((502, "M_CONNECTION_FAILED"), "appservice.listen"),
        ((504, "M_CONNECTION_TIMEOUT"), "appservice.listen"),
    ],
)
async def test_what_stays_is_raised_with_what_to_do(answer: tuple[int, str], hint: str) -> None:
    with pytest.raises(Failure, match=hint):
        await pinged(answer, answer, answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((400, "M_URL_NOT_SET"), "has no url"),
        ((403, "M_FORBIDDEN"), "appservice.id"),
        ((404, "M_UNRECOGNIZED"), "Synapse 1.87"),
    ],
)
async def test_what_no_repetition_helps_is_raised_at_once(answer: tuple[int, str], hint: str) -> None:
    with pytest.raises(Refused, match=hint):
        await pinged(answer)


@pytest.mark.parametrize("answer", [{}, [], {"duration_ms": "7"}])
async def test_an_odd_answer_is_an_answer(answer: Any) -> None:
    assert (await pinged(answer))[0] == 0
