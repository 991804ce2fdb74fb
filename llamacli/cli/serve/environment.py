"""The application of a server that another ASGI server runs, configured by the environment and the settings alone."""

from __future__ import annotations

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.cli.serve.command import check_no_node, make_setup, serve
from llamacli.cli.serve.setup import make_state
from llamacli.errors import UsageError
from llamacli.server.application import make_application
from llamacli.server.http.asgi import App
from llamacli.server.security.origin import is_loopback


def app_from_environment() -> App:
    """Return the application (`LLAMACLI_MODEL`, `LLAMACLI_API_KEY`, …). Where it listens is not known to it.

    Raises:
        UsageError, SettingsError: if a variable or a settings file is wrong, or names a host beyond this machine without a key.
    """
    app = AppContext(console=Console.system())
    values = serve.from_environment(app)
    line, node = values.pop("line"), values.pop("node")
    del values["app"]
    if node.rpc_node:
        raise UsageError("another ASGI server cannot be a node: llamacli serve --rpc-node is one")
    check_no_node(node)
    setup = make_setup(**values)
    state = make_state(app, setup, line)
    if not state.clients.has_keys and not is_loopback(setup.listen.host):
        raise UsageError("LLAMACLI_HOST is not of this machine alone, so that a key is needed", hint="set LLAMACLI_API_KEY")
    return make_application(state)
