"""Makes the tables, seeds them when empty, and serves until it is stopped."""

import signal
import sys

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.core.servers.basehttp import (
    ServerHandler,
    ThreadedWSGIServer,
    WSGIRequestHandler,
    get_internal_wsgi_application,
)
from django.db import connections

from etb_sandbox import seed, webhook
from etb_sandbox.state import STATE

LONGEST_LINE = 65_536


class Answer(ServerHandler):
    def finish_response(self) -> None:
        if not self.environ.get("sandbox.drop"):
            super().finish_response()
            return
        # The work is done and committed; the caller never learns.
        self.request_handler.close_connection = True
        self.result.close()
        self.result = None
        self.headers_sent = True


class Requests(WSGIRequestHandler):
    disable_nagle_algorithm = True  # headers and body leave in two writes

    def handle_one_request(self) -> None:
        """Django's own, with our answer class."""
        self.raw_requestline = self.rfile.readline(LONGEST_LINE + 1)
        if len(self.raw_requestline) > LONGEST_LINE:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
            return
        if not self.parse_request():
            return
        handler = Answer(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
        handler.request_handler = self
        handler.run(self.server.get_app())

    def log_message(self, *args) -> None:
        """`GET /_sandbox/log/` keeps the log."""


class Server(ThreadedWSGIServer):
    request_queue_size = 128


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = ()

    def add_arguments(self, parser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8100, help="0 takes a free one")
        parser.add_argument("--data", help="folder of the database, made when missing")
        parser.add_argument("--token", default=None, help="token of the service account etb-chat")
        parser.add_argument(
            "--control-key", default="sandbox-control-key", help="X-Sandbox-Key of the control calls"
        )
        parser.add_argument("--no-incidents", action="store_true", help="seed users and rules only")

    def handle(self, *args, **options) -> None:
        settings.DATA.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        STATE.control_key = options["control_key"]
        call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=True)
        token = options["token"] or seed.service_token()
        seed.plant_when_empty(incidents=not options["no_incidents"], service_token=token)
        connections.close_all()
        webhook.start()
        server = Server((options["host"], options["port"]), Requests)
        server.set_app(get_internal_wsgi_application())
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            sys.exit(0)
