"""How the ids of ghosts are spelt: one for each username, and back."""

import re
import string

import pytest

from etb_appservice.domain.ghosts import Ghosts, decoded, encoded
from etb_appservice.domain.ids import UserId, Username

GHOSTS = Ghosts("@_etb_u_", "x.org")
LOCALPART = re.compile(r"[a-z0-9._=\-/+]+")


@pytest.mark.parametrize(
    "name",
    ["alice", "Alice", "max_m", "max_M", "a@b.org", "Ärger", "Zoë🚀", "a=b", "a b", "_", "A", "\x00"],
)
def test_a_username_comes_back_from_its_ghost_s_id(name: str) -> None:
    made = GHOSTS.user_id(Username(name))
    assert made is not None
    assert GHOSTS.username(made) == name
    assert LOCALPART.fullmatch(encoded(name))


def test_no_two_usernames_share_an_id() -> None:
    names = [a + b for a in string.printable for b in string.printable]
    assert len({encoded(name) for name in names}) == len(names)


@pytest.mark.parametrize("text", ["", "_", "=", "=4", "=41", "=2E", "A", "_1", "=zz", "=ff", "a:b", "a b", "_="])
def test_what_no_username_makes_is_nobody_s(text: str) -> None:
    assert decoded(text) is None


@pytest.mark.parametrize(
    "user_id", ["@_etb_u_alice:y.org", "@_etb_alice:x.org", "@alice:x.org", "@_etb_u_:x.org", "_etb_u_a:x.org", ""]
)
def test_who_is_no_ghost_speaks_for_nobody(user_id: str) -> None:
    assert GHOSTS.username(UserId(user_id)) is None


def test_a_name_that_makes_no_id_has_no_ghost() -> None:
    assert GHOSTS.user_id(Username("")) is None
    assert GHOSTS.user_id(Username("a" * 242)) is None
    assert GHOSTS.user_id(Username("a" * 241)) is not None
    assert GHOSTS.user_id(Username("\ud800")) is None
    assert Ghosts().user_id(Username("alice")) is None
    assert Ghosts().username(UserId("@_etb_u_alice:x.org")) is None
