"""Runs a Python module in a process in which some host names are known: a hosts file of the process's own.

    python tests/harness/named.py '{"home.test": "127.0.0.2"}' synapse.app.homeserver -c homeserver.yaml

Server ACLs ignore ports, and people name servers, not addresses; `/etc/hosts` and mount namespaces are root's.
Names that aren't listed are looked up as ever.
"""

import json
import runpy
import socket
import sys
from typing import Any


def know(hosts: dict[str, str]) -> None:
    """From now on `socket.getaddrinfo`, which Twisted's resolver asks too, knows these names."""
    ask = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        return ask(hosts.get(name, host), *arguments, **options)

    socket.getaddrinfo = getaddrinfo


if __name__ == "__main__":
    know(json.loads(sys.argv[1]))
    sys.argv = sys.argv[2:]
    sys.path.pop(0)  # this folder, whose modules are named as they like
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
