"""The HTTP server: backends behind OpenAI's endpoints. `app_from_environment` is the application for other ASGI servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamacli.server.http.asgi import App


def app_from_environment() -> App:
    """Return the application as the environment configures it (`LLAMACLI_MODEL`, …), for `granian --factory` and the like.

    Raises:
        LlamacliError: if a variable or a settings file is wrong.
    """
    from llamacli.cli.serve import environment

    return environment.app_from_environment()
