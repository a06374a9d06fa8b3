import base64
import os
from pathlib import Path

import pytest

from etb_appservice.config import ConfigError, Loaded, load
from etb_appservice.config.guarded import is_handed_over
from etb_appservice.config.load import secrets_of

KEY = base64.b64encode(b"k" * 32).decode()
SECRET = "s3cret-that-must-never-show"
MINIMAL = f"""\
homeserver:
  url: http://127.0.0.1:8008
  domain: example.org
appservice:
  url: http://127.0.0.1:29333
  as_token: {SECRET}-as
  hs_token: {SECRET}-hs
database:
  url: sqlite:///etb.db
encryption:
  key: {KEY}
etb:
  base_url: https://etb.example.org
  token: {SECRET}-etb
classification:
  default: INTERNAL
control_room:
  operators: ["@op:example.org"]
"""


def write(folder: Path, text: str | bytes, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def read(folder: Path, text: str | bytes = MINIMAL, **environ: str) -> Loaded:
    return load(write(folder, text), environ)


def problems(folder: Path, text: str | bytes, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, **environ)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    return caught.value.problems


def test_a_minimal_file_gives_settings_with_defaults(tmp_path: Path) -> None:
    loaded = read(tmp_path)
    assert loaded.warnings == ()
    assert loaded.settings.bot_id == "@etb:example.org"
    assert str(loaded.settings.appservice.listen) == "127.0.0.1:29333"
    assert loaded.settings.encryption.key_bytes == b"k" * 32


def test_settings_can_not_be_changed_and_show_no_secret(tmp_path: Path) -> None:
    settings = read(tmp_path).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.bot.localpart = "x"  # type: ignore[misc]
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    assert KEY not in repr(settings)


def test_every_mistake_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    text = MINIMAL.replace("  domain: example.org", "  domian: example.org").replace(
        "classification:", "bot: 3\ncommands:\n  burst: many\nclassification:"
    )
    found = problems(tmp_path, text)
    assert "line 3: unknown key homeserver.domian; did you mean homeserver.domain?" in found
    assert "line 1: homeserver.domain is missing" in found
    assert "line 15: bot must be a section with keys of its own" in found
    assert "line 17: commands.burst must be a whole number" in found
    assert len(found) == 4


def test_an_unknown_section_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL + "webhok: {enabled: true}\n") == [
        "line 19: unknown key webhok; did you mean webhook?"
    ]


def test_an_unknown_key_inside_the_table_of_rules_is_found(tmp_path: Path) -> None:
    row = "{visibility: joined, federate: true, title_in_state: false, keys_to_invited: false, federated: true}"
    assert problems(tmp_path, MINIMAL + f"rooms:\n  rules:\n    RESTRICTED: {row}\n") == [
        "line 21: unknown key rooms.rules.RESTRICTED.federated; did you mean rooms.rules.RESTRICTED.federate?"
    ]


def test_a_key_given_twice_is_refused_without_its_value(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace("  hs_token", f"  as_token: {SECRET}\n  hs_token"))
    assert found == ["line 7: appservice.as_token is given twice, first on line 6"]


@pytest.mark.parametrize(
    "text",
    [
        f"a: *{SECRET}",
        f"a: !{SECRET} b",
        f"a: &{SECRET} b",
        f"%{SECRET}\n---\na: b",
        f'a: "{SECRET}',
        f"a: '{SECRET}' b: c",
        f"a: {SECRET}: {SECRET}\n b: {{",
        f"- {SECRET}",
        SECRET,
        "[" * 5000,
        "a: " + "9" * 6000,
        b"a: \xff\xfe",
        "a: \x00",
        "a: b\n---\nc: d",
        "[1, 2]: 3",
    ],
)
def test_what_is_not_plain_yaml_is_refused_without_showing_a_value(tmp_path: Path, text: str | bytes) -> None:
    assert problems(tmp_path, text)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, b"#" * (1024 * 1024 + 1)) == ["the file is larger than 1048576 bytes"]


def test_a_file_that_is_not_there_names_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="etb-appservice init"):
        load(tmp_path / "none.yaml", {})


def test_a_wrong_secret_is_refused_without_showing_it(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.replace(KEY, SECRET)) == [
        "line 11: encryption.key must be 32 bytes in base64; `openssl rand -base64 32` makes such a key"
    ] or problems(tmp_path, MINIMAL.replace(KEY, SECRET)) == ["line 11: encryption.key is not base64"]
    assert problems(tmp_path, MINIMAL.replace(f"{SECRET}-as", "short")) == [
        "line 6: appservice.as_token must be at least 16 printable ASCII characters without spaces"
    ]


def test_the_two_tokens_must_differ(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace(f"{SECRET}-as", f"{SECRET}-hs"))
    assert found == ["line 4: appservice: as_token and hs_token must differ"]


def test_a_secret_comes_from_a_file_beside_the_settings(tmp_path: Path) -> None:
    write(tmp_path, f"{SECRET}-from-file\n", "token")
    loaded = read(tmp_path, MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: token"))
    assert loaded.settings.etb.token.get_secret_value() == f"{SECRET}-from-file"


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, SECRET, "token")
    found = problems(tmp_path, MINIMAL.replace("etb:\n", "etb:\n  token_file: token\n"))
    assert found == ["line 13: give etb.token or etb.token_file, not both"]


def test_a_missing_secret_names_both_ways_to_give_it(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace(f"  token: {SECRET}-etb\n", ""))
    assert found == ["line 12: etb.token is missing; give it, or the file that holds it as token_file"]


@pytest.mark.parametrize("content", [b"", b"  \n", b"\xff\xff", b"x" * 70_000])
def test_a_useless_secret_file_is_named_once(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content, "token")
    found = problems(tmp_path, MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: token"))
    assert len(found) == 1
    assert found[0].startswith("line 14: etb.token_file: ")


def test_a_secret_file_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: none"))
    assert len(found) == 1
    assert "can't be read: No such file" in found[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o444])
def test_a_secret_file_that_others_can_read_is_an_error_with_its_remedy(tmp_path: Path, mode: int) -> None:
    text = MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: token")
    path = write(tmp_path, SECRET, "token")
    path.chmod(mode)
    found = problems(tmp_path, text)
    assert found == [
        f"line 14: etb.token_file: {path} holds secrets and can be read by others; run `chmod 600 {path}`"
    ]
    path.chmod(0o400)
    assert read(tmp_path, text).warnings == ()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_secret_file_that_others_can_write_is_an_error_wherever_it_stands(tmp_path: Path, mode: int) -> None:
    text = MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: token")
    write(tmp_path, SECRET, "token").chmod(mode)
    with pytest.raises(ConfigError, match="can be written by others"):
        load(write(tmp_path, text), {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_webhook_secret_that_others_can_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "whsec_" + KEY, "hook")
    path.chmod(0o644)
    text = MINIMAL + "webhook:\n  enabled: true\n  secret_files: [hook]\n"
    assert problems(tmp_path, text) == [
        f"line 21: webhook.secret_files[1]: {path} holds secrets and can be read by others; run `chmod 600 {path}`"
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_settings_with_secrets_that_others_can_read_or_write_are_an_error(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, MINIMAL)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"run `chmod 600 {path}`"):
        load(path, {})


def test_settings_whose_secrets_all_come_from_elsewhere_may_be_read_by_others(tmp_path: Path) -> None:
    text = MINIMAL
    for key, value in {
        "as_token": f"{SECRET}-as",
        "hs_token": f"{SECRET}-hs",
        "token": f"{SECRET}-etb",
        "key": KEY,
    }.items():
        write(tmp_path, value, key)
        text = text.replace(f"  {key}: {value}", f"  {key}_file: {key}")
    path = write(tmp_path, text)
    path.chmod(0o644)
    assert load(path, {}).settings.database.kind == "sqlite"
    path.write_text(text.replace("sqlite:///etb.db", f"postgresql://etb:{SECRET}@db/etb"))
    with pytest.raises(ConfigError, match="chmod 600"):
        load(path, {})


def test_secrets_that_a_manager_handed_over_may_have_its_modes(tmp_path: Path) -> None:
    """Docker and systemd set modes that the service can't change; a link out of there isn't one of theirs."""
    text = MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: handed/token")
    handed = tmp_path / "handed"
    handed.mkdir()
    path = write(handed, SECRET, "token")
    path.chmod(0o444)
    config = write(tmp_path, text)
    assert load(config, {"CREDENTIALS_DIRECTORY": str(handed)}).settings.etb.token.get_secret_value() == SECRET
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="can be read by others"):
        load(config, {"CREDENTIALS_DIRECTORY": str(handed)})


@pytest.mark.parametrize(
    ("name", "is_theirs"),
    [("/run/secrets/as_token", True), ("/run/secrets/../token", False), ("/run/secretsome/token", False)],
)
def test_run_secrets_is_where_containers_are_handed_theirs(name: str, *, is_theirs: bool) -> None:
    assert is_handed_over(Path(name), {}) is is_theirs


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        ETB_APPSERVICE__ETB__POLL_INTERVAL_S="3",
        ETB_APPSERVICE__CONTROL_ROOM__OPERATORS='["@a:example.org", "@b:example.org"]',
        ETB_APPSERVICE__PEOPLE__ENTRIES='{"alice": "@al:example.org"}',
        ETB_APPSERVICE__BOT__DISPLAYNAME="123",
        ETB_APPSERVICE__OPS__JSON_LOGS="true",
    ).settings
    assert settings.etb.poll_interval_s == 3
    assert settings.control_room.operators == ("@a:example.org", "@b:example.org")
    assert settings.people.entries == {"alice": "@al:example.org"}
    assert settings.bot.displayname == "123"
    assert settings.ops.json_logs


def test_names_of_etb_itself_are_honoured(tmp_path: Path) -> None:
    other = base64.urlsafe_b64encode(b"\xff" * 32).decode()
    loaded = read(
        tmp_path,
        CHAT_ENCRYPTION_KEY=other,
        CHAT_AUDIT_LOG_LEVEL="WARNING",
        ETB_BASE_URL="http://etb.test/",
        ETB_TOKEN="abc",
        ETB_AUTH_SCHEME="Bearer",
        ETB_TIMEOUT_S="2.5",
        ETB_VERIFY_TLS="false",
        ETB_PATHS='{"incidents.list": "/x/"}',
        ETB_ENUM_MAP='{"severity": {"Sev1": "CRITICAL"}}',
        ETB_POLL_INTERVAL_S="60",
        CHANNEL_LAYERS_REDIS_URL="redis://:pw@localhost:6379/0",
        MEDIA_ROOT="/srv/media",
        DEFAULT_FILE_STORAGE="django.core.files.storage.FileSystemStorage",
    )
    etb = loaded.settings.etb
    assert loaded.settings.encryption.key_bytes == b"\xff" * 32
    assert loaded.settings.ops.audit_log_level == "WARNING"
    assert (etb.base_url, etb.token.get_secret_value(), etb.auth_scheme) == ("http://etb.test", "abc", "Bearer")
    assert (etb.timeout_s, etb.verify_tls, etb.poll_interval_s) == (2.5, False, 60)
    assert (etb.paths, etb.enums) == ({"incidents.list": "/x/"}, {"severity": {"Sev1": "CRITICAL"}})
    notes = loaded.seed.notes()
    assert [note.partition(":")[0] for note in notes] == ["MEDIA_ROOT", "DEFAULT_FILE_STORAGE"]
    redis = loaded.settings.sockets.redis_url
    assert redis is not None
    assert redis.get_secret_value() == "redis://:pw@localhost:6379/0"
    assert "pw" not in str(notes) + repr(loaded.settings)


def test_names_of_etb_itself_are_checked(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        MINIMAL,
        CHANNEL_LAYERS_REDIS_URL=f"http://{SECRET}",
        MEDIA_ROOT="media",
        DEFAULT_FILE_STORAGE="a b",
        CHAT_AUDIT_LOG_LEVEL="LOUD",
        ETB_PATHS="{",
    )
    assert len(found) == 5
    assert all(problem.startswith("environment variable ") for problem in found)


def test_an_unknown_key_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL, ETB_APPSERVICE__ETB__TOKNE=SECRET) == [
        "environment variable ETB_APPSERVICE__ETB__TOKNE: unknown key etb.tokne; did you mean etb.token?"
    ]


def test_a_secret_of_the_environment_replaces_the_file_named_in_yaml(tmp_path: Path) -> None:
    text = MINIMAL.replace(f"  token: {SECRET}-etb", "  token_file: not-there")
    assert read(tmp_path, text, ETB_TOKEN="from-env").settings.etb.token.get_secret_value() == "from-env"


def test_a_secret_file_of_the_environment_replaces_the_secret_in_yaml(tmp_path: Path) -> None:
    write(tmp_path, "from-file", "token")
    settings = read(tmp_path, ETB_TOKEN_FILE=str(tmp_path / "token")).settings
    assert settings.etb.token.get_secret_value() == "from-file"


def test_a_variable_set_to_nothing_counts_as_not_set(tmp_path: Path) -> None:
    assert read(tmp_path, ETB_TOKEN="", ETB_APPSERVICE__NO__SUCH="").settings.etb.token.get_secret_value() != ""


def test_a_section_with_all_its_keys_commented_out_has_its_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, MINIMAL + "bot:\nrooms:\n").settings.rooms.version == "12"


def test_webhooks_need_a_secret_and_take_several(tmp_path: Path) -> None:
    assert "secrets" in problems(tmp_path, MINIMAL + "webhook: {enabled: true}\n")[0]
    secret = "whsec_" + base64.b64encode(b"w" * 32).decode()
    write(tmp_path, secret, "hook")
    text = MINIMAL + f"webhook: {{enabled: true, secrets: [{secret}], secret_files: [hook]}}\n"
    assert len(read(tmp_path, text).settings.webhook.secrets) == 2
    assert "can't be read" in problems(tmp_path, text.replace("[hook]", "[none]"))[0]
    assert "Standard Webhooks" in problems(tmp_path, text.replace(secret, "whsec_" + "A" * 8))[0]


def test_no_way_for_incidents_to_arrive_is_an_error(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace("etb:\n", "etb:\n  poll: false\n"))
    assert found == ["etb.poll and webhook.enabled are both off: no incident would ever arrive"]


def test_a_classification_without_a_default_is_an_error(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace("  default: INTERNAL", "  sensitive: RESTRICTED"))
    assert found == ["line 15: classification.default is missing"]


def test_titles_above_internal_stay_hidden_from_homeservers(tmp_path: Path) -> None:
    row = "{visibility: shared, federate: true, title_in_state: true, keys_to_invited: true}"
    found = problems(tmp_path, MINIMAL + f"rooms: {{rules: {{CONFIDENTIAL: {row}}}}}\n")
    assert "rules.CONFIDENTIAL.title_in_state must be false" in found[0]


def test_two_people_can_not_share_one_matrix_id(tmp_path: Path) -> None:
    entries = '{a: "@x:example.org", b: "@x:example.org"}'
    assert (
        "a and b have the same Matrix id" in problems(tmp_path, MINIMAL + f"people: {{entries: {entries}}}\n")[0]
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("url: http://127.0.0.1:8008", "url: ftp://x"),
        ("url: http://127.0.0.1:8008", "url: http://user:pw@x"),
        ("url: http://127.0.0.1:8008", "url: http://x:99999"),
        ("domain: example.org", "domain: http://example.org"),
        ("default: INTERNAL", "default: SECRETIVE"),
        ('["@op:example.org"]', '["op"]'),
        ('["@op:example.org"]', '["@op:"]'),
        ("sqlite:///etb.db", "mysql://x/y"),
        ("sqlite:///etb.db", "sqlite://"),
        ("sqlite:///etb.db", '"sqlite:///:memory:"'),
        ("default: INTERNAL", "default: INTERNAL\nappservice2: {}"),
        ("default: INTERNAL", "default: INTERNAL\ngateway: {listen: '127.0.0.1:29333'}"),
        ("default: INTERNAL", "default: INTERNAL\ngateway: {listen: nowhere}"),
        ("default: INTERNAL", "default: INTERNAL\ngateway: {listen: 'x:70000'}"),
        ("default: INTERNAL", "default: INTERNAL\nretention: {seen_keys_days: 3}"),
        ("default: INTERNAL", "default: INTERNAL\ncommands: {per_minute: true}"),
        ("default: INTERNAL", "default: INTERNAL\ncommands: {etb_wait_s: .nan}"),
        ("default: INTERNAL", "default: INTERNAL\ncommands: {etb_wait_s: .inf}"),
        ("default: INTERNAL", "default: INTERNAL\ncommands: {prefixes: []}"),
        ("default: INTERNAL", "default: INTERNAL\npeople: {template: '@{user}:example.org'}"),
        ("default: INTERNAL", "default: INTERNAL\npeople: {template: '@{username}{username}:example.org'}"),
        ("default: INTERNAL", "default: INTERNAL\nbot: {localpart: _etb}"),
        ("default: INTERNAL", "default: INTERNAL\nbot: {localpart: Etb}"),
        ("base_url: https://etb.example.org", "base_url: https://etb.example.org\n  web_url: https://x/{no}"),
        ("base_url: https://etb.example.org", "base_url: https://etb.example.org\n  paths: {a: //evil.org/}"),
    ],
)
def test_a_value_that_can_not_work_is_refused(tmp_path: Path, old: str, new: str) -> None:
    assert old in MINIMAL
    assert len(problems(tmp_path, MINIMAL.replace(old, new))) == 1


def test_a_sqlite_file_stands_beside_the_settings_and_the_crypto_store_beside_it(tmp_path: Path) -> None:
    database = read(tmp_path).settings.database
    assert database.kind == "sqlite"
    assert database.etb_url == f"sqlite:///{tmp_path}/etb.db"
    assert database.etb_crypto_url == f"sqlite:///{tmp_path}/etb-crypto.db"


def test_postgresql_holds_both_in_one_database_unless_told_otherwise(tmp_path: Path) -> None:
    text = MINIMAL.replace("sqlite:///etb.db", "postgres://u:p@db:5432/etb")
    database = read(tmp_path, text).settings.database
    assert database.kind == "postgresql"
    assert database.etb_url == "postgresql://u:p@db:5432/etb"
    assert database.etb_crypto_url == database.etb_url


def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path / "dir", dict(os.environ))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('  admin_user: "@root:example.org"\n', "belong together"),
        (f"  admin_token: {SECRET}-admin\n", "belong together"),
        (f'  admin_user: "@root:elsewhere.org"\n  admin_token: {SECRET}-admin\n', "must be a user of example.org"),
        (f'  admin_user: "@etb:example.org"\n  admin_token: {SECRET}-admin\n', "a user of its own"),
        (f'  admin_user: "@_etb_admin:example.org"\n  admin_token: {SECRET}-admin\n', "a user of its own"),
    ],
)
def test_an_administrator_is_a_user_of_its_own_with_a_token_of_its_own(
    tmp_path: Path, lines: str, words: str
) -> None:
    text = MINIMAL.replace("  domain: example.org\n", f"  domain: example.org\n{lines}")
    assert any(words in problem for problem in problems(tmp_path, text))
    good = f'  domain: example.org\n  admin_user: "@root:example.org"\n  admin_token: {SECRET}-admin\n'
    loaded = read(tmp_path, MINIMAL.replace("  domain: example.org\n", good))
    assert loaded.settings.homeserver.admin_user == "@root:example.org"
    assert f"{SECRET}-admin" in secrets_of(loaded.settings)
