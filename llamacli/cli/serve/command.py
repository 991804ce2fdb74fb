"""`llamacli serve`: models behind OpenAI's endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import (
    ContextOptions,
    DraftModelOptions,
    ProjectorOptions,
    PromptCacheOptions,
    SamplingOptions,
)
from llamacli.cli.framework.parameters import option
from llamacli.cli.serve.options import AccessOptions, ListenOptions, LoadOptions, LogOptions, NodeOptions, ServedModelOptions
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.cli.serve.setup import Setup

TemplateOption = Annotated[
    str | None,
    option(
        "--chat-template", metavar="NAME|FILE", shows="the model's", panel="Context and speed",
        help="Chat template: the name of a built-in one, a Jinja file, or Jinja text.",
    ),
]  # fmt: skip


@command(
    examples=(
        ("Serve the demo model.", "llamacli serve"),
        ("Serve two models, and ask one.", "llamacli serve -m chat.gguf -m code.gguf"),
        ("Let 8 clients talk at once, each with 16,384 tokens.", "llamacli serve -m model.gguf --parallel 8 -c 16384"),
        (
            "Serve the network, with the keys of `llamacli serve key`.",
            "llamacli serve --host 0.0.0.0 --api-keys-file ~/.config/llamacli/keys.json",
        ),
        ("Lend this machine to a model that another machine loads.", "llamacli serve --rpc-node"),
    ),
    common=("-m", "--host", "--port", "--api-keys-file", "-c", "--parallel", "-ngl", "-t", "--temp"),
)
def serve(
    app: AppContext,
    *,
    model: ServedModelOptions,
    draft: DraftModelOptions,
    projector: ProjectorOptions,
    listen: ListenOptions,
    node: NodeOptions,
    access: AccessOptions,
    load: LoadOptions,
    log: LogOptions,
    context: ContextOptions,
    prompt_cache: PromptCacheOptions,
    chat_template: TemplateOption = None,
    sampling: SamplingOptions,
    line: Reread,
) -> None:
    """Serve models over HTTP.

    The server speaks OpenAI's API, at http://localhost:8080/v1 unless told otherwise, and understands llama-server's additional
    parameters. Requests run side by side, and share what their prompts have in common. Each conversation has the context of -c
    to itself: 8192 tokens without it, or fewer if the model was trained with fewer.

    The sampling options are defaults, which a request may change. SIGTERM and Ctrl-C let running answers finish; a second one
    ends them. SIGHUP reads keys, settings and the certificate again.

    Requests may have images and sounds, as data URLs, if the model takes them (`llamacli help images`).

    With --rpc-node it serves no model, but lends this machine's devices to commands of another machine that have --rpc, for a
    model that is too large for one.

    `llamacli serve key` manages the keys of clients. `llamacli help serving` and `llamacli help cluster` say more.
    """
    if node.rpc_node:
        from llamacli.cli.serve.node import run_node

        run_node(app, listen, node, model, context, line)
        return
    check_no_node(node)
    setup = make_setup(
        model=model,
        draft=draft,
        projector=projector,
        listen=listen,
        access=access,
        load=load,
        log=log,
        context=context,
        prompt_cache=prompt_cache,
        sampling=sampling,
        chat_template=chat_template,
    )
    from llamacli.cli.serve.session import run_server

    run_server(app, setup, line)


serve.groups = {"key": "llamacli.cli.serve.key"}


def check_no_node(node: NodeOptions) -> None:
    """Raise UsageError if an option of a node is given without it."""
    for given, name in ((node.cache is not None, "--cache"), (node.insecure_rpc, "--insecure-rpc")):
        if given:
            raise UsageError(f"{name} needs --rpc-node")


def make_setup(**values: object) -> Setup:
    """Return the options as one value. Raises UsageError if the extra `serve` is not installed."""
    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"serve needs the package {error.name}, which is not installed", hint="run pip install 'llamacli[serve]'"
        ) from error
    from llamacli.cli.serve.setup import Setup

    return Setup(**values)  # type: ignore[arg-type]  # the command's own parameters
