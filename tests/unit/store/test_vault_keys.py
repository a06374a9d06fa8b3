"""The root key: how it is read, what is derived from it, and what its errors and reprs keep to themselves."""

import base64

import pytest

from etb_appservice.store.errors import MalformedKey
from etb_appservice.store.vault import Vault, read_root_key

ROOT = bytes(range(220, 252))


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(ROOT).decode(),
        base64.urlsafe_b64encode(ROOT).decode(),
        f" {base64.b64encode(ROOT).decode()}\n",
    ],
)
def test_the_key_is_read_in_either_alphabet_with_blanks_around_it(text: str) -> None:
    assert read_root_key(text) == ROOT


@pytest.mark.parametrize("text", ["marmalade!", "", base64.b64encode(b"marmalade").decode(), "ä" * 44, "a" * 45])
def test_a_malformed_key_is_refused_with_the_fix_and_not_shown(text: str) -> None:
    with pytest.raises(MalformedKey, match="openssl rand -base64 32") as refused:
        read_root_key(text)
    assert "marmalade" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_each_purpose_has_a_key_of_its_own_that_is_always_the_same() -> None:
    one, two = Vault(ROOT), Vault(ROOT)
    assert one.derive("crypto") == two.derive("crypto")
    assert len({one.derive("crypto"), one.derive("wrap"), one.derive("audit"), ROOT}) == 4
    assert len(one.derive("crypto")) == 32
    assert Vault(bytes(32)).derive("crypto") != one.derive("crypto")


def test_a_tag_depends_on_text_and_key_alone() -> None:
    vault = Vault(ROOT)
    assert vault.tag("yes") == Vault(ROOT).tag("yes")
    assert vault.tag("yes") != vault.tag("no")
    assert vault.tag("yes") != Vault(bytes(32)).tag("yes")
    assert len(vault.tag("\ud83d")) == 64


def test_a_vault_shows_nothing_of_itself() -> None:
    assert repr(Vault(ROOT)) == "Vault()"
    with pytest.raises(MalformedKey, match="16 bytes long"):
        Vault(bytes(16))
