#!/usr/bin/env python3
"""Starts the ETB sandbox: `python manage.py serve --port 0 --data DIR`. See README.md.

A development tool that stands in for ETB. It must never be exposed beyond loopback or a private container network.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    os.environ["DJANGO_SETTINGS_MODULE"] = "etb_sandbox.settings"
    for here, argument in enumerate(sys.argv):  # the settings need the folder before Django parses anything
        if argument == "--data" and here + 1 < len(sys.argv):
            os.environ["ETB_SANDBOX_DATA"] = sys.argv[here + 1]
        elif argument.startswith("--data="):
            os.environ["ETB_SANDBOX_DATA"] = argument.removeprefix("--data=")

    from django.core.management import execute_from_command_line  # noqa: PLC0415  # after the settings are named

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
