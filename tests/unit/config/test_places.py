import stat
from pathlib import Path

import pytest

from etb_appservice.config import load
from etb_appservice.config.places import (
    CHOSEN,
    WEBHOOK,
    NotHere,
    Place,
    draft,
    draft_of,
    draft_of_registration,
    place_of,
    with_value,
)
from tests.unit.config.test_load import MINIMAL, SECRET, write

HS = ("appservice", "hs_token")
COMMENTED = """\
# top
appservice:   # the private side
    id: etb
    hs_token:   'old ''one'''   # keep me
    listen: "127.0.0.1:1"

webhook: {enabled: true, secrets: ["whsec_a"]}  # flow
# end"""


def test_one_value_is_replaced_and_nothing_else_is_touched() -> None:
    changed = with_value(COMMENTED, HS, "new")
    assert changed == COMMENTED.replace("'old ''one'''", '"new"')
    assert with_value(COMMENTED, (*WEBHOOK, 0), "whsec_b") == COMMENTED.replace("whsec_a", "whsec_b")
    assert with_value('{"appservice": {"hs_token": "o", "z": null}}', HS, "n") == (
        '{"appservice": {"hs_token": "n", "z": null}}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "appservice: {}\n",
        "appservice:\n  hs_token: |\n    old\n  id: etb\n",
        "appservice:\n  hs_token: [a]\n",
        "appservice: 5\n",
    ],
)
def test_a_value_that_is_not_one_plain_word_is_left_alone(text: str) -> None:
    with pytest.raises(NotHere, match="hs_token"):
        with_value(text, HS, "new")


def test_a_secret_is_found_where_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert place_of(path, {}, HS) == Place(path, HS)
    path = write(tmp_path, MINIMAL.replace(f"hs_token: {SECRET}-hs", "hs_token_file: sub/hs"))
    assert place_of(path, {}, HS) == Place(tmp_path / "sub" / "hs")
    text = MINIMAL + "webhook:\n  secrets: [whsec_a]\n"
    assert place_of(write(tmp_path, text), {}, WEBHOOK).key == (*WEBHOOK, 0)
    text = MINIMAL + "webhook:\n  secret_files: [hook]\n"
    assert place_of(write(tmp_path, text), {}, WEBHOOK) == Place(tmp_path / "hook")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ETB_APPSERVICE__APPSERVICE__HS_TOKEN", HS),
        ("ETB_APPSERVICE__APPSERVICE__HS_TOKEN_FILE", HS),
        ("CHAT_ENCRYPTION_KEY", ("encryption", "key")),
    ],
)
def test_what_the_environment_sets_is_not_ours_to_change(tmp_path: Path, name: str, key: tuple[str, str]) -> None:
    with pytest.raises(NotHere, match=f"environment variable {name}.*--to FILE") as refused:
        place_of(write(tmp_path, MINIMAL), {name: SECRET}, key)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("lines", ["", "  secrets: [a, b]\n", "  secrets: [a]\n  secret_files: [b]\n"])
def test_a_webhook_with_more_or_less_than_one_secret_is_not_rotated(tmp_path: Path, lines: str) -> None:
    path = write(tmp_path, MINIMAL + "webhook:\n  enabled: true\n" + lines)
    with pytest.raises(NotHere, match="one secret"):
        place_of(path, {}, WEBHOOK)


def test_a_draft_takes_its_place_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    one = draft_of(Place(link, HS), f"{SECRET}-another")
    assert path.read_text() == MINIMAL
    one.put()
    one.drop()
    assert link.is_symlink()
    assert load(path, {}).settings.appservice.hs_token.get_secret_value() == f"{SECRET}-another"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith(".")] == []


def test_a_file_that_the_operator_names_keeps_its_mode(tmp_path: Path) -> None:
    """Handed to a container, it has to be readable there."""
    path = write(tmp_path, "old", "hs_token")
    for mode in (0o600, 0o640, 0o644):
        path.chmod(mode)
        draft_of(Place(path, most=CHOSEN), f"new {mode}").put()
        assert path.read_text() == f"new {mode}\n"
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_dropped_draft_leaves_nothing(tmp_path: Path) -> None:
    one = draft(tmp_path / "file", "text")
    assert stat.S_IMODE(one.draft.stat().st_mode) == 0o600
    one.drop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640), (0o660, 0o640)])
def test_the_homeservers_group_may_go_on_reading_its_registration(tmp_path: Path, before: int, after: int) -> None:
    settings = load(write(tmp_path, MINIMAL), {}).settings
    path = tmp_path / "registration.yaml"
    path.write_text("# mine\nid: etb\nhs_token: old  # here\nas_token: kept\n")
    path.chmod(before)
    draft_of_registration(path, settings, {"hs_token": "new"}).put()
    assert path.read_text() == '# mine\nid: etb\nhs_token: "new"  # here\nas_token: kept\n'
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_a_registration_that_is_not_there_is_written_and_one_of_another_service_refused(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL), {}).settings
    path = tmp_path / "new.yaml"
    draft_of_registration(path, settings, {"hs_token": "new"}).put()
    assert 'hs_token: "new"' in path.read_text()
    assert f'as_token: "{SECRET}-as"' in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("id: another\nhs_token: x\n")
    with pytest.raises(NotHere, match="--registration"):
        draft_of_registration(path, settings, {"hs_token": "new"})
