"""Secrets are compared in constant time, each by what was presented; nowhere by `==`."""

import ast
import base64
import hashlib
import hmac
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from sqlalchemy import create_engine

import etb_appservice
from etb_appservice.etb.webhook import WebhookIntake
from etb_appservice.matrix.transactions import Transactions
from etb_appservice.store.errors import WrongKey
from etb_appservice.store.tables import vault_check, vault_former
from etb_appservice.store.vault import Vault

PACKAGE = Path(etb_appservice.__file__).parent
_SECRET_WORDS = ("token", "secret", "signature", "passphrase", "password", "recovery_key")
ALLOWED = {
    # Values of the operator's own, compared with one another: nobody presents one.
    ("app/secrets.py", "self.tokens.proven != rotation.current"),
    ("matrix/tokens.py", "one != token"),
    ("matrix/tokens.py", "self.proven == token"),
    ("matrix/tokens.py", "token != self.proven"),
    ("matrix/tokens.py", "token != working"),
    ("config/sections/neighbours.py", "(self.admin_user is None) != (self.admin_token is None)"),
    ("render/markdown.py", "token.tag == 'ol'"),  # a token of Markdown
    ("config/sections/neighbours.py", "self.as_token.get_secret_value() == self.hs_token.get_secret_value()"),
}
Compared = list[tuple[bytes, bytes]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """What went through `hmac.compare_digest`."""
    seen: Compared = []
    real = hmac.compare_digest

    def spy(left: Any, right: Any) -> bool:
        seen.append((left, right))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    return seen


async def _nobody(_name: str) -> bool:
    return False


@pytest.mark.parametrize("presented", ["wrong", "hs-token-of-tests", "hs-token-of-testsX", ""])
async def test_the_homeservers_token_is_compared_with_every_accepted_one(
    compared: Compared, presented: str
) -> None:
    accepted = ["hs-token-of-tests", "the-next-one-of-tests"]
    door = Transactions(None, accepted, user_exists=_nobody, alias_exists=_nobody)  # type: ignore[arg-type]
    request = make_mocked_request(
        "POST", "/_matrix/app/v1/ping", headers={"Authorization": f"Bearer {presented}"} if presented else {}
    )
    status = (await door.ping(request)).status
    assert status == {"hs-token-of-tests": 200, "": 401}.get(presented, 403)
    assert compared == ([(presented.encode(), one.encode()) for one in accepted] if presented else [])


def test_a_webhooks_signature_is_compared_in_constant_time(compared: Compared) -> None:
    key, presented = bytes(range(32)), bytes(32)
    intake = WebhookIntake(None, None, ["whsec_" + base64.b64encode(key).decode()])  # type: ignore[arg-type]
    moment = str(int(time.time()))
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(presented).decode()}",
    }
    with pytest.raises(Exception, match="does not fit this body"):
        intake._verify(headers, b"{}")
    right = hmac.new(key, f"msg_1.{moment}.{{}}".encode(), hashlib.sha256).digest()
    assert compared == [(right, presented)]


def test_the_key_of_a_database_is_compared_in_constant_time(compared: Compared) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        vault_check.create(connection)
        vault_former.create(connection)
        Vault(bytes(32)).check(connection, 1, may_write=True)
        assert compared
        assert all(kept == mine for kept, mine in compared)
        kept = compared[0][0]
        compared.clear()
        with pytest.raises(WrongKey):
            Vault(bytes([1]) * 32).check(connection, 2, may_write=True)
        [(other, kept_now)] = compared
        assert kept_now == kept != other
    engine.dispose()


def test_no_secret_is_compared_by_equality() -> None:
    """A look at every comparison of the package; what is allowed is named above, with the reason."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                continue
            # A text that is written here is no secret: it names one, or is an error's code.
            sides = [
                ast.unparse(side).lower()
                for side in (node.left, *node.comparators)
                if not isinstance(side, ast.Constant)
            ]
            if any(word in side for side in sides if not side.startswith("len(") for word in _SECRET_WORDS):
                found.add((str(path.relative_to(PACKAGE)), ast.unparse(node)))
    assert found == ALLOWED
