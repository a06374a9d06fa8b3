"""What the section `approvals` may say."""

import pytest

from etb_appservice.config.sections.work import Approvals


def test_a_command_that_does_not_exist_would_never_be_held() -> None:
    assert Approvals(commands=("Assign", "run")).needed == 1
    with pytest.raises(ValueError, match="there is no command asign"):
        Approvals(commands=("asign",))
