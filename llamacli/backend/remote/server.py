"""What a server says about itself: its models and their limits, and the dialect of its API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llamacli.backend.remote.client import Client, RefusedError
from llamacli.backend.remote.problem import MalformedError
from llamacli.errors import ModelNotFoundError, UsageError
from llamacli.media.kind import MediaKind

logger = logging.getLogger(__name__)

Dialect = Literal["llama", "openai"]
"""`llama`: grammars, every sampler and /tokenize, as llamacli serve and llama-server have; `openai`: OpenAI's own fields."""

NOT_A_SERVER = "is this the address of a model server?"
_PATIENCE_SECONDS = 30.0
_MOST_NAMES = 12
_OTHERS = ("openai", "system", "vllm", "library", "organization_owner")
"""Owners of models on servers that have no /props."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server and the chosen model.

    `n_ctx`, `slots`, the answers that it makes at once, and `takes`, the kinds of media, are None if it does not tell.
    """

    model: str
    dialect: Dialect = "openai"
    kind: str = ""
    n_ctx: int | None = None
    n_vocab: int = 0
    n_embd: int = 0
    slots: int | None = None
    chat_template: str | None = None
    takes: tuple[MediaKind, ...] | None = None


def learn(client: Client, wanted: str | None) -> ServerInfo:
    """Ask a server for its models and its properties, and choose the model `wanted` (None: the only or the first one).

    Raises:
        UsageError: if the key is refused, or a model has to be named.
        ModelNotFoundError: if the server has no model.
        RemoteError: if the server cannot be reached.
    """
    models = _models(client)
    owner = next((str(one.get("owned_by")) for one in models), "")
    props = {} if owner in _OTHERS else _optional(client, f"{client.address.root}/props")
    slots = _size(props.get("total_slots"))
    dialect: Dialect = "llama" if slots is not None else "openai"
    chosen = _choose(client, models, wanted, takes_first=dialect == "llama")
    meta = chosen.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    settings = props.get("default_generation_settings")
    settings = settings if isinstance(settings, Mapping) else {}
    template = props.get("chat_template")
    limits = (meta.get("n_ctx"), settings.get("n_ctx"), chosen.get("max_model_len"), chosen.get("context_length"))
    return ServerInfo(
        model=str(chosen["id"]),
        dialect=dialect,
        kind=str(meta.get("kind") or owner or "unknown kind"),
        n_ctx=next((size for size in map(_size, limits) if size), None),
        n_vocab=_size(meta.get("n_vocab")) or 0,
        n_embd=_size(meta.get("n_embd")) or 0,
        slots=_size(meta.get("n_parallel")) or slots,
        chat_template=template if isinstance(template, str) and template else None,
        takes=_kinds(props.get("modalities")),
    )


def _kinds(modalities: Any) -> tuple[MediaKind, ...] | None:
    """The kinds of media that a server says to take, as /props has them; None if it says nothing."""
    if not isinstance(modalities, Mapping):
        return None
    named: tuple[tuple[str, MediaKind], ...] = (("vision", "image"), ("audio", "audio"))
    return tuple(kind for name, kind in named if modalities.get(name))


def _models(client: Client) -> list[Mapping[str, Any]]:
    """The models that the server lists; none if it has no list."""
    document = _optional(client, f"{client.address.api}/models")
    data = document.get("data")
    return (
        [one for one in data if isinstance(one, Mapping) and isinstance(one.get("id"), str)] if isinstance(data, list) else []
    )


def _optional(client: Client, path: str) -> Mapping[str, Any]:
    """The document at a path, empty if the server has none. Raises RemoteError, and UsageError if the key is refused."""
    try:
        document = client.get(path, patience=_PATIENCE_SECONDS)
    except RefusedError as refused:
        if refused.refusal.status in (401, 403):
            raise client.error(refused) from refused
        if refused.refusal.status >= 500 and refused.refusal.status != 501:
            raise client.error(refused) from refused
        return {}
    return document if isinstance(document, Mapping) else {}


def _choose(client: Client, models: list[Mapping[str, Any]], wanted: str | None, *, takes_first: bool) -> Mapping[str, Any]:
    if wanted is not None:
        names = {wanted, Path(wanted).name.removesuffix(".gguf")}
        for one in models:
            aliases = one.get("aliases")
            if one["id"] in names or (isinstance(aliases, list) and not names.isdisjoint(map(str, aliases))):
                return one
        if len(models) == 1:
            logger.info("%s has one model, %s", client, models[0]["id"])
            return models[0]
        return {"id": wanted}
    if len(models) == 1 or (models and takes_first):
        return models[0]
    if not models:
        raise ModelNotFoundError(f"{client} lists no models", hint="-m names one")
    named = ", ".join(str(one["id"]) for one in models[:_MOST_NAMES])
    more = f" and {len(models) - _MOST_NAMES} more" if len(models) > _MOST_NAMES else ""
    raise UsageError(f"{client} has several models: -m names one", hint=f"{named}{more}")


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None


def ask(client: Client, model: str, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a page of the dialect `llama` answers. Raises the error of a refusal, RemoteError if the server fails."""
    try:
        found = client.post(f"{client.address.root}{path}", {"model": model, **document})
    except RefusedError as refused:
        raise client.error(refused) from refused
    return check_document(found, str(client))


def check_document(document: Any, server: str) -> Mapping[str, Any]:
    """Return a document that must be an object. Raises MalformedError if it is not."""
    if not isinstance(document, Mapping):
        raise MalformedError(f"{server} answered with something other than an object", hint=NOT_A_SERVER)
    return document
