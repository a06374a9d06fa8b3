"""The console command. Says what is wrong and what to do in one message, never in a traceback (`--debug` has it).

Exit status: 0 done, 1 failed, 2 the command line or the settings are wrong. Must never print a secret, except the
recovery key, once, to the operator who asked for it.
"""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import asyncpg
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from etb_appservice import app
from etb_appservice.app.foundation import etb_connection
from etb_appservice.config import ConfigError, Loaded, load
from etb_appservice.config.fresh import AlreadyThere, Answers, write
from etb_appservice.config.load import secrets_of
from etb_appservice.config.places import NotHere
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.rotation import Secret
from etb_appservice.flows.mistakes import told
from etb_appservice.ops import logs
from etb_appservice.store.errors import StoreError

_FAILED, _MISUSED = 1, 2
_ROTATED: dict[str, Secret] = {"hs-token": "hs_token", "as-token": "as_token", "webhook-secret": "webhook_secret"}
_STOP_WITHIN_S = 20.0
_PRIVATE = 0o077
"""Databases and what stands beside them are for the service's user alone."""
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Place:
    """What all commands share."""

    config: Path
    debug: bool

    def settings(self, *, serving: bool = False) -> Loaded:
        """The settings, warnings said; logging set up. Ends the program when they can't be used.

        A command that answers a person logs warnings only, unless `--debug` asks for more.
        """
        os.umask(_PRIVATE)
        try:
            loaded = load(self.config, os.environ)
            _ = etb_connection(loaded.settings)  # knows the names of ETB's paths and fields
        except ConfigError as error:
            err.print(f"{error.where}:", style="bold red", markup=False)
            for problem in error.problems:
                err.print(f"  - {problem}", markup=False)
            sys.exit(_MISUSED)
        except ValueError as error:
            _stop(f"{self.config}: {error}", _MISUSED)
        ops = loaded.settings.ops
        logs.configure(
            level="DEBUG" if self.debug else ops.log_level if serving else "WARNING",
            audit_level=ops.audit_log_level if serving else "WARNING",
            json_lines=ops.json_logs,
            secrets=secrets_of(loaded.settings),
        )
        for warning in loaded.warnings:
            err.print(f"warning: {warning}", style="yellow", markup=False)
        return loaded


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="etb-appservice")
@click.option(
    "-c", "--config", type=click.Path(dir_okay=False, path_type=Path), default=Path("config.yaml"),
    envvar="ETB_APPSERVICE_CONFIG", show_default=True, show_envvar=True, help="The settings file.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Log more, and show where an error comes from.")
@click.pass_context
def main(context: click.Context, config: Path, debug: bool) -> None:
    """Give every ETB incident one end-to-end encrypted Matrix room."""
    context.obj = Place(config, debug)


# --- init -------------------------------------------------------------------------------------------------


@main.command()
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where to.")
@click.option("--homeserver", help="Where this service reaches the homeserver, such as http://127.0.0.1:8008.")
@click.option("--domain", help="The homeserver's server name, such as example.org.")
@click.option("--etb-url", help="Where ETB's API is, such as https://etb.example.org.")
@click.option("--etb-token-file", help="A file that holds the token of this service's ETB account.")
@click.option("--appservice-url", default="", help="Where the homeserver reaches this service.")
@click.option("--listen", default="", metavar="HOST:PORT", help="Private address, for the homeserver.")
@click.option("--public-listen", default="", metavar="HOST:PORT", help="Public address, for webhooks.")
@click.option("--database", default="sqlite:///etb.db", show_default=True, help="The database's URL.")
@click.option("--operator", "operators", multiple=True, metavar="MXID", help="Who commands. Repeatable.")
@click.option("--people-template", default="", help="Matrix ids by ETB username: @{username}:example.org.")
@click.option("--poll-interval", type=float, help="Seconds between two looks at ETB.")
@click.option("--web-url", default="", help="Where a person opens an incident in ETB, with {id} in it.")
@click.option("--room-version", default="", help="Matrix room version of new rooms.")
@click.option("--classification", default="INTERNAL", show_default=True, help="When ETB states none.")
@click.option("--webhook", is_flag=True, help="Take webhooks of ETB, with a fresh secret.")
def init(
    directory: Path,
    homeserver: str | None,
    domain: str | None,
    etb_url: str | None,
    etb_token_file: str | None,
    operators: tuple[str, ...],
    poll_interval: float | None,
    **given: Any,
) -> None:
    """Write config.yaml and registration.yaml, with fresh secrets.

    Asks for what isn't given when there is a terminal. Never overwrites.
    """
    wanted = {
        "--homeserver": homeserver,
        "--domain": domain,
        "--etb-url": etb_url,
        "--etb-token-file": etb_token_file,
    }
    missing = [name for name, value in wanted.items() if not value]
    if missing and not at_terminal():
        raise click.UsageError(f"give {', '.join(missing)}: there is no terminal to ask at")
    with _complaints(debug=False):
        homeserver = homeserver or click.prompt("Homeserver's address, as this machine reaches it")
        domain = domain or click.prompt("Homeserver's server name (after the colon in its users' ids)")
        etb_url = etb_url or click.prompt("ETB's address")
        token = ""
        if etb_token_file:
            etb_token_file = str(Path(etb_token_file).absolute())
        else:
            token = click.prompt("Token of this service's ETB account", hide_input=True).strip()
        if "--homeserver" in missing and not operators:
            answer = click.prompt("Matrix id of an operator (empty for none)", default="", show_default=False)
            operators = (answer,) if answer else ()
        answers = Answers(
            homeserver=str(homeserver),
            domain=str(domain),
            etb_url=str(etb_url),
            etb_token_file=etb_token_file or "",
            etb_token=token,
            appservice_url=given["appservice_url"],
            listen=given["listen"],
            public_listen=given["public_listen"],
            database=given["database"],
            operators=operators,
            people_template=given["people_template"],
            poll_interval_s=poll_interval,
            web_url=given["web_url"],
            room_version=given["room_version"],
            classification=given["classification"],
            webhook=given["webhook"],
        )
        config, registration = write(directory, answers)
    out.print(f"wrote {config} and {registration}", markup=False)
    out.print(
        "Next: name registration.yaml in the homeserver's app_service_config_files and restart it, then run"
        f"\n  etb-appservice -c {config} db upgrade\n  etb-appservice -c {config} check\n"
        f"  etb-appservice -c {config} run\nKeep a copy of encryption.key in a safe place.",
        markup=False,
    )


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


# --- the others -------------------------------------------------------------------------------------------


@main.command()
@click.pass_obj
def check(place: Place) -> None:
    """Look at settings, database, homeserver (both ways) and ETB; say what is wrong and what to do."""
    with _complaints(debug=place.debug):
        loaded = place.settings()
        out.print(f"[green]✓[/] settings: {len(loaded.warnings)} warnings")
        for note in loaded.seed.notes():
            out.print(f"- {note}", markup=False)
        findings = asyncio.run(app.check(loaded.settings))
    for finding in findings:
        sign, style = ("✓", "green") if finding.is_well else ("✗", "bold red")
        out.print(
            sign, f"{finding.part}: {finding.text}", style=style if not finding.is_well else None, markup=False
        )
    if not all(finding.is_well for finding in findings):
        sys.exit(_FAILED)


@main.command()
@click.pass_obj
def run(place: Place) -> None:
    """Serve until stopped (SIGTERM or Ctrl-C)."""
    loaded = place.settings(serving=True)
    _serve(lambda: app.run(loaded.settings), debug=place.debug)


@main.command()
@click.pass_obj
def serve(place: Place) -> None:
    """Serve ETB's web pages beside a running service, in as many processes as it takes.

    Each needs the service's database and Redis (`sockets.redis_url`), and addresses of its own to listen on.
    """
    loaded = place.settings(serving=True)
    _serve(lambda: app.serve(loaded.settings), debug=place.debug)


@main.command()
@click.option("--create-bots", is_flag=True, help="Show the records of the bots, which are there.")
@click.option("--create-war-rooms", is_flag=True, help="Make a room for every open incident.")
@click.pass_obj
def setup(place: Place, create_bots: bool, create_war_rooms: bool) -> None:
    """Make the rooms of open incidents, and show the bots' records. Safe to repeat.

    The records are the program's own and the same everywhere: the chat API serves them, there is nothing to make.
    """
    if not create_bots and not create_war_rooms:
        raise click.UsageError("say --create-bots, --create-war-rooms, or both")
    loaded = place.settings()
    if create_bots:
        records = app.bot_records()
        out.print(f"bots: {len(records)}")
        for one in records:
            out.print(f"  {one.id}  {one.bot_type}", soft_wrap=True)
    if not create_war_rooms:
        return
    with _complaints(debug=place.debug), _bar("rooms") as progress:
        report = asyncio.run(app.setup(loaded.settings, progress=progress))
    out.print(f"rooms: {report.rooms}")
    if report.missing:
        _stop(f"{report.missing} open incidents have no room yet; the control room and the log say why", _FAILED)


@main.command()
@click.option(
    "--recovery-key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that holds the bot's recovery key; needed only when the main database was lost too.",
)  # fmt: skip
@click.pass_obj
def recover(place: Place, recovery_key_file: Path | None) -> None:
    """After the loss of the crypto store: a new device, signed by the same identity."""
    loaded = place.settings()
    with _complaints(debug=place.debug):
        key = recovery_key_file.read_text(encoding="utf-8").strip() if recovery_key_file else None
        report = asyncio.run(app.recover(loaded.settings, key))
    out.print(f"the bot has a new device: {report.device_id}", markup=False)
    if not report.unreadable:
        out.print("no message waits for a key")
    for room_id, count in report.unreadable:
        out.print(
            f"  {room_id}: messages of {count} sessions wait for a key and may stay unreadable",
            markup=False,
        )


@main.command("recovery-key")
@click.pass_obj
def recovery_key(place: Place) -> None:
    """Show the bot's recovery key, once. With it the bot stays itself though every database was lost."""
    loaded = place.settings()
    with _complaints(debug=place.debug):
        is_shown = asyncio.run(app.recovery_key(loaded.settings, _show_recovery_key))
    if not is_shown:
        _stop("there is no key to show: it was shown before, or the service has not been started yet", _FAILED)


@main.command()
@click.argument("secret", type=click.Choice([*_ROTATED, "encryption-key", "recovery-key"]))
@click.option(
    "--overlap",
    type=click.FloatRange(0, 24 * 31),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="How long the former one is accepted; 0 for one that is known to others.",
)
@click.option(
    "--registration",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The registration that the homeserver loads, where it isn't registration.yaml beside the settings.",
)
@click.option(
    "--to", type=click.Path(dir_okay=False, path_type=Path),
    help="A file for the new value, where its place can't be written from here.",
)  # fmt: skip
@click.pass_obj
def rotate(place: Place, secret: str, overlap: float, registration: Path | None, to: Path | None) -> None:
    """Replace a secret while the service runs; the former one is accepted for an overlap."""
    loaded = place.settings()
    with _complaints(debug=place.debug):
        wanted = app.Wanted(
            config=place.config,
            environ=os.environ,
            overlap_ms=int(overlap * 3600 * 1000),
            registration=registration,
            to=to,
        )
        match secret:
            case "recovery-key":
                work = app.rotate_recovery_key(loaded.settings, wanted.overlap_ms, _show_recovery_key)
            case "encryption-key":
                work = app.rotate_encryption_key(loaded.settings, wanted)
            case _:
                work = app.rotate(loaded.settings, _ROTATED[secret], wanted)
        lines = asyncio.run(work)
    for line in lines:
        out.print(line, markup=False)


@main.group()
def db() -> None:
    """The database."""


@db.command()
@click.pass_obj
def upgrade(place: Place) -> None:
    """Bring both databases to this version's tables. Safe to repeat."""
    loaded = place.settings()
    with _complaints(debug=place.debug):
        asyncio.run(app.upgrade(loaded.settings))
    out.print("the database is up to date")


@main.command()
def openapi() -> None:
    """Print the OpenAPI document of the chat API."""
    click.echo(app.api_document())


# --- how it ends ------------------------------------------------------------------------------------------


def _stop(message: str, status: int) -> Never:
    err.print(message, style="bold red", markup=False)
    sys.exit(status)


@contextlib.contextmanager
def _complaints(*, debug: bool) -> Iterator[None]:
    """Errors become one message and an exit status."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        if debug:
            raise
        message, status = explain(error)
        _stop(message, status)


def explain(error: BaseException) -> tuple[str, int]:
    """(what a person reads, exit status) of an error."""
    match error:
        case ConfigError():
            return f"{error.where}: " + "; ".join(error.problems), _MISUSED
        case AlreadyThere() | FileExistsError() | NotHere():
            return str(error), _MISUSED
        case Failure() | StoreError() | OSError():
            return str(error) or type(error).__name__, _FAILED
        case BaseExceptionGroup():
            return explain(error.exceptions[0])
        case sqlite3.Error() | asyncpg.PostgresError() | asyncpg.InterfaceError():
            # The store has words of its own, so this is mautrix's database.
            return f"the crypto database failed: {(str(error).splitlines() or [''])[0][:200]}", _FAILED
        case _:
            # The message of an unforeseen error may quote anything, a secret included.
            mistake = told(error)
            return f"stopped by an error of the program itself ({mistake['error']} at {mistake['where']})", _FAILED


def _serve(work: Callable[[], Coroutine[Any, Any, None]], *, debug: bool) -> None:
    """Run until told to stop. Whatever ends it ends the process at once.

    A process that lingers keeps its listening socket, and the homeserver would wait for answers that never come:
    threads of a failed database driver can keep one alive.
    """
    status = _FAILED
    try:
        status = asyncio.run(_until_told(work, debug=debug))
    except BaseException as error:  # noqa: BLE001 - the process ends in any case, and says why
        _say_why(error, debug=debug)
    finally:
        _exit_at_once(status)


async def _until_told(work: Callable[[], Coroutine[Any, Any, None]], *, debug: bool) -> int:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # A second signal doesn't wait for anything.
        loop.add_signal_handler(number, lambda: _exit_at_once(_FAILED) if told.is_set() else told.set())
    working, waiting = loop.create_task(work()), loop.create_task(told.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
        await asyncio.wait({working}, timeout=_STOP_WITHIN_S)
    status = 0
    if working.done() and not working.cancelled() and (error := working.exception()) is not None:
        _say_why(error, debug=debug)
        status = _FAILED
    # Here and not after the loop: closing the loop could wait for what will never end.
    _exit_at_once(status)
    return status


def _say_why(error: BaseException, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    message, _ = explain(error)
    err.print(message, style="bold red", markup=False)


def _exit_at_once(status: int) -> None:
    """End this process without waiting for threads or clean-up; what was accepted is in the database."""
    logs.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the terminal; the last word alone where there is none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show_recovery_key(key: str) -> None:
    out.print("The bot's recovery key, shown this once. Keep it in a safe place, away from this machine:")
    out.print(f"\n  {key}\n", markup=False)
