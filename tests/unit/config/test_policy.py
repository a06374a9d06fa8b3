from pathlib import Path

from etb_appservice.config import load, policy, registration
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.policy import AnnouncementPolicy, BreakGlassPolicy
from etb_appservice.domain.rooms import DEFAULT_RULES
from tests.unit.config.test_load import MINIMAL, write


def test_a_policy_says_what_the_settings_say(tmp_path: Path) -> None:
    row = "{visibility: invited, federate: false, title_in_state: false, keys_to_invited: true}"
    text = (
        MINIMAL
        + f"rooms: {{version: 11, rotation_hours: 1, rules: {{public: {row}}}}}\n"
        + 'cadence: {update_minutes: {LOW: 5}, snooze: {"⏰\ufe0f": 7}, stop: 🔕, commander_minutes: 0}\n'
        + 'reactions: {actions: {"❤\ufe0f": task}}\n'
        + "incidents: {drill_tags: [Test]}\nclosing: {read_only_after_hours: 0}\n"
        + "break_glass: {first: [operator], second: ['@c:example.org', auditor], most_hours: 2}\n"
        + "announcements: {members: ['@d:example.org'], classification: public, severity: LOW}\n"
        + "people: {template: '@{username}:example.org'}\ncommands: {prefixes: ['!'], burst: 3}\n"
    )
    settings = load(write(tmp_path, text), {}).settings
    made = policy(settings)
    assert (made.rooms.bot, made.rooms.version, made.rooms.rotation_period_ms) == (
        "@etb:example.org",
        "11",
        3_600_000,
    )
    assert made.rooms.rules[Classification.PUBLIC].visibility == "invited"
    assert made.rooms.rules[Classification.TOP_SECRET] == DEFAULT_RULES[Classification.TOP_SECRET]
    assert made.people.user_id(Username("alice")) == "@alice:example.org"
    assert made.operators == {"@op:example.org"}
    assert (made.commands.prefixes, made.commands.burst) == (("!",), 3)
    assert (made.cadence.update_ms("LOW"), made.cadence.update_ms("HIGH")) == (300_000, None)
    assert (made.cadence.snooze_minutes("⏰"), made.cadence.snooze_minutes("1⃣")) == (7, None)
    assert (made.cadence.stop, made.cadence.commander_minutes) == ("🔕", 0)
    assert (made.reactions.action("❤"), made.reactions.action("📌")) == ("task", None)
    assert (made.drill_tags, made.read_only_after_hours) == (("Test",), 0)
    assert made.announcements == AnnouncementPolicy(
        frozenset({UserId("@d:example.org")}), Classification.PUBLIC, "LOW"
    )
    assert made.break_glass == BreakGlassPolicy(
        frozenset({"operator"}), frozenset({"@c:example.org", "auditor"}), most_hours=2
    )
    assert made.is_ours(UserId("@_etb_alice:example.org"))
    assert not made.is_ours(UserId("@_etb_alice:elsewhere.org"))
    level = made.classification.level(severity="LOW", category="security", is_sensitive=False)
    assert level is Classification.CONFIDENTIAL
    assert made.classification.level(severity="", category="", is_sensitive=False) is Classification.INTERNAL


def test_a_registration_reserves_our_names_and_escapes_them(tmp_path: Path) -> None:
    made = registration(load(write(tmp_path, MINIMAL), {}).settings)
    assert made["namespaces"]["users"] == [
        {"exclusive": True, "regex": r"@etb:example\.org"},
        {"exclusive": True, "regex": r"@_etb_.*:example\.org"},
    ]
    assert made["namespaces"]["aliases"] == [{"exclusive": True, "regex": r"#_etb_.*:example\.org"}]
    assert made["sender_localpart"] != "etb"
    assert made["io.element.msc4190"] is True
    assert made["receive_ephemeral"] is True
    assert made["rate_limited"] is False


def test_verified_devices_are_asked_for_from_confidential_on_unless_written_otherwise(tmp_path: Path) -> None:
    row = "visibility: joined, federate: false, title_in_state: false, keys_to_invited: false"
    rules = (
        f"{{public: {{{row}, signed_devices_only: true}}, restricted: {{{row}}}, "
        f"top_secret: {{{row}, signed_devices_only: false}}}}"
    )
    text = f"{MINIMAL}rooms: {{rules: {rules}}}\ndevices: {{remove_after_hours: 0.5}}\n"
    made = policy(load(write(tmp_path, text), {}).settings)
    asked = {level.name for level in Classification if made.rooms.signed_devices_only("incident", level)}
    assert asked == {"PUBLIC", "CONFIDENTIAL", "RESTRICTED"}
    assert made.devices.remove_after_s == 1800
    default = policy(load(write(tmp_path, MINIMAL), {}).settings)
    asked = {level.name for level in Classification if default.rooms.signed_devices_only("control", level)}
    assert asked == {"CONFIDENTIAL", "RESTRICTED", "TOP_SECRET"}
    assert default.devices.remove_after_s == 24 * 3600
    assert not any(default.rooms.signed_devices_only("direct", level) for level in Classification)
