import json
import stat
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from ruamel.yaml import YAML

from etb_appservice.config import load, registration

DOCKER = Path(__file__).parents[3] / "docker"
COMMITTED = ("prepare", "config.yaml", "element/config.json", "postgres/10-databases.sh")


def yaml(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


COMPOSE = yaml(DOCKER / "compose.yaml")


def prepare(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(folder / "prepare"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder in which `prepare` was run."""
    folder = tmp_path_factory.mktemp("docker")
    for name in COMMITTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((DOCKER / name).read_bytes())
    (folder / "prepare").chmod(0o755)
    (folder / "token").write_text("0123456789abcdef\n")
    done = prepare(
        folder, "chat.example.org", "https://etb.example.org", str(folder / "token"), "@op:chat.example.org"
    )
    assert done.returncode == 0, done.stderr
    return folder


def dotenv(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_compose_fits_its_published_schema() -> None:
    schema = json.loads(
        files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json").read_text("utf-8")
    )
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"servicez": {}}, schema)


def test_the_dockerfile_has_nothing_to_complain_about() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [str(hadolint), "--no-color", str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_image_runs_without_rights_from_wheels_with_hashes() -> None:
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    installs = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert all("--no-deps" in line for line in installs), "pip would look beside the lock"
    assert len(installs) == 3


def test_what_the_dockerfile_copies_is_not_shut_out_of_the_build() -> None:
    allowed = [
        line.removeprefix("!").rstrip("/")
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    wanted = [
        word.rstrip("/")
        for line in (DOCKER / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert wanted
    for name in wanted:
        assert (DOCKER.parent / name).exists(), name
        assert any(one == name or one.startswith(f"{name}/") for one in allowed), name


def test_every_secret_comes_from_a_file_that_prepare_writes(prepared: Path) -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert (prepared / "secrets" / name).read_text().strip()
    used = {name for service in COMPOSE["services"].values() for name in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not any("29333" in port for port in ports)


def test_every_image_is_named_by_a_version() -> None:
    for service in COMPOSE["services"].values():
        tag = service["image"].rpartition(":")[2]
        assert tag == "local" or any(char.isdigit() for char in tag)


def test_the_service_accepts_what_prepare_wrote(prepared: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text((prepared / "config.yaml").read_text().replace("/run/secrets/", f"{prepared}/secrets/"))
    written = dotenv(prepared)
    # Readable by the container's user, as below /run/secrets.
    environ = {"CREDENTIALS_DIRECTORY": f"{prepared}/secrets"}
    for name, value in COMPOSE["services"]["etb-appservice"]["environment"].items():
        variable = value.removeprefix("${").removesuffix("}").partition(":")[0]
        environ[name] = written.get(variable, "")
    settings = load(config, environ).settings
    assert settings.bot_id == "@etb:chat.example.org"
    assert settings.control_room.operators == ("@op:chat.example.org",)
    assert settings.people.template == "@{username}:chat.example.org"
    assert settings.database.kind == "postgresql"
    assert len(settings.webhook.secrets) == 1
    assert yaml(prepared / "data" / "synapse" / "registration.yaml") == registration(settings)


def test_both_processes_find_the_redis_of_the_profile(prepared: Path, tmp_path: Path) -> None:
    """What the README says to add to `.env`, read as Compose reads it; the Redis runs as the file says."""
    lines = (DOCKER / "README.md").read_text().splitlines()
    profile = lines.index("COMPOSE_PROFILES=pages")
    name, _, value = lines[profile + 1].partition("=")
    services = COMPOSE["services"]
    for one in ("etb-appservice", "pages"):
        assert services[one]["environment"]["ETB_APPSERVICE__SOCKETS__REDIS_URL_FILE"] == f"${{{name}:-}}"
        assert value.removeprefix("/run/secrets/") in services[one]["secrets"]
    assert services["pages"]["command"] == ["serve"]

    password = (prepared / "secrets" / "redis_password").read_text().strip()
    url = (prepared / "secrets" / "redis_url").read_text().strip()
    assert url == f"redis://:{password}@redis:6379/0"
    shell, dash_c, script = services["redis"]["command"]
    script = script.replace("$$", "$").replace("/run/secrets/", f"{prepared}/secrets/")
    at = tmp_path / "redis"
    script = script.replace("appendonly no", f"appendonly no\nport 0\nunixsocket {at}")
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    with subprocess.Popen(
        [shell, dash_c, script], env=environ, cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as running:
        try:
            for _ in range(200):
                if at.exists():
                    break
                time.sleep(0.05)
            assert redis.Redis(unix_socket_path=str(at), password=password).ping()
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(unix_socket_path=str(at)).ping()
        finally:
            running.terminate()
            running.wait(timeout=20)
    with pytest.raises(redis.ConnectionError):
        redis.Redis(unix_socket_path=str(at), password=password).ping()
    assert not list(tmp_path.glob("*.rdb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what Synapse itself is warned of
def test_synapse_accepts_what_prepare_wrote(prepared: Path, tmp_path: Path) -> None:
    for path in (prepared / "data" / "synapse").iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/data/", f"{tmp_path}/"))
    from synapse.config.homeserver import HomeServerConfig  # noqa: PLC0415 - imports much of Synapse

    config = HomeServerConfig.load_config("", ["-c", str(tmp_path / "homeserver.yaml")])
    assert config.server.server_name == "chat.example.org"
    assert config.key.signing_key[0].alg == "ed25519"
    assert [Path(name).name for name in config.appservice.app_service_config_files] == ["registration.yaml"]


def test_a_second_prepare_changes_nothing(prepared: Path) -> None:
    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(prepared.rglob("*")) if path.is_file()}

    before = everything()
    done = prepare(prepared, "other.example.org", "https://other.example.org", str(prepared / "token"))
    assert done.returncode == 0, done.stderr
    assert everything() == before


def test_secrets_stand_in_a_folder_of_their_owner(prepared: Path) -> None:
    assert stat.S_IMODE((prepared / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((prepared / ".env").stat().st_mode) == 0o600
    ignored = (DOCKER / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/data/", "/.env"} <= set(ignored)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("example.org", "https://etb.example.org"),
        ("bad name", "https://etb.example.org", "TOKEN"),
        ("example.org", "etb.example.org", "TOKEN"),
        ("example.org", "https://e$(id)", "TOKEN"),
        ("example.org", "https://etb.example.org", "/not/there"),
        ("example.org", "https://etb.example.org", "TOKEN", '@a"b:example.org'),
    ],
)
def test_prepare_refuses_what_can_not_be_right_and_writes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "prepare").write_bytes((DOCKER / "prepare").read_bytes())
    (tmp_path / "prepare").chmod(0o755)
    (tmp_path / "token").write_text("x")
    done = prepare(tmp_path, *(str(tmp_path / "token") if word == "TOKEN" else word for word in words))
    assert done.returncode == 2
    assert done.stderr.startswith("prepare: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepare", "token"]


def test_the_development_stack_installs_what_the_lock_names_and_nothing_beside_it() -> None:
    lines = (DOCKER.parent / "synapse-dev" / "bootstrap.sh").read_text().replace("\\\n", "").splitlines()
    installs = [line for line in lines if "pip install" in line and not line.lstrip().startswith("#")]
    assert len(installs) == 2
    assert all("--no-deps" in line for line in installs)
    assert "--require-hashes" in installs[0]
    assert any("pip check" in line for line in lines), "the lock may lack something"
