"""Requests of a load test: from a file of prompts, or made to measure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llamacli.backend.remote.client import Client, RefusedError
from llamacli.backend.remote.server import ServerInfo
from llamacli.bench.load.params import LoadTest, Request
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json

MOST_BYTES = 1 << 30
_SHARED_SHARE = 0.9
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_WORDS = (
    "river", "stone", "window", "garden", "letter", "morning", "silver", "market", "bridge", "candle", "forest", "island",
    "winter", "copper", "harbour", "thunder", "meadow", "lantern", "village", "mirror", "ocean", "pepper", "castle",
    "ribbon", "valley", "orange", "feather", "planet", "summer", "anchor", "button", "cotton",
)  # fmt: skip
"""Words of one or two tokens in most vocabularies."""

MakeRequest = Callable[[int], Request]
"""Returns the request with a number."""


def read_prompts(path: Path) -> list[list[dict[str, str]]]:
    """Return the conversations of a file: an array of JSON or JSON lines, of texts, of objects with `prompt` or `messages` as
    `run --input` reads them, or of ShareGPT's shape, whose answers are left out from the last one on.

    Raises:
        UsageError: if the file cannot be read, or an item has another shape; the message has its number.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path} is longer than {MOST_BYTES >> 30} GiB")
    try:
        if data.lstrip().startswith(b"["):
            items = parse_json(data, source=str(path))
        else:
            items = [
                parse_json(line, source=f"{path}, line {n}") for n, line in enumerate(data.splitlines(), 1) if line.strip()
            ]
    except InvalidJSONError as error:
        raise UsageError(error.message) from error
    if not items:
        raise UsageError(f"{path} has no prompts")
    return [_conversation(item, f"{path}: item {number}") for number, item in enumerate(items)]


def _conversation(item: Any, name: str) -> list[dict[str, str]]:
    if isinstance(item, str):
        item = {"prompt": item}
    if isinstance(item, dict):
        if isinstance(item.get("prompt"), str) and item["prompt"]:
            return [{"role": "user", "content": item["prompt"]}]
        for key, role, text in (("messages", "role", "content"), ("conversations", "from", "value")):
            if isinstance(turns := item.get(key), list) and (found := _turns(turns, role, text)):
                return found
    raise UsageError(f"{name} is not a prompt", hint="a text, or an object with prompt, messages or ShareGPT's conversations")


def _turns(turns: list[Any], role: str, text: str) -> list[dict[str, str]]:
    """Return the messages up to the last one of the user; none if one has another shape."""
    found: list[dict[str, str]] = []
    for turn in turns:
        known = _ROLES.get(str(turn.get(role))) if isinstance(turn, dict) else None
        if known is None or not isinstance(turn.get(text), str):
            return []
        found.append({"role": known, "content": turn[text]})
    while found and found[-1]["role"] != "user":
        found.pop()
    return found


def from_conversations(conversations: Sequence[list[dict[str, str]]], test: LoadTest, info: ServerInfo) -> MakeRequest:
    """Return a maker of requests that have the conversations in turn, from the first again after the last."""

    def make(number: int) -> Request:
        messages = conversations[number % len(conversations)]
        return Request(path="chat/completions", body={"messages": messages, **_limits(test, info)})

    return make


def to_measure(client: Client, info: ServerInfo, test: LoadTest) -> MakeRequest:
    """Return a maker of prompts with `n_prompt` tokens: exactly, if the server can tokenize, else with as many short words.

    No two begin alike, so that a server evaluates all of each; with `warm_prefix` nine tenths of all are the same.

    Raises:
        RemoteError: if the server fails.
    """
    size = max(test.n_prompt, 1)
    same = int(size * _SHARED_SHARE) if test.warm_prefix else 0
    tokens = _tokens(client, info, size)

    def make(number: int) -> Request:
        generator = random.Random(str(number))  # no secret
        if tokens is None:
            words = [random.Random(place).choice(_WORDS) for place in range(same)]  # no secret
            prompt: Any = " ".join([*words, *(generator.choice(_WORDS) for _ in range(size - same))])
        else:
            prompt = [*tokens[:same], *(generator.choice(tokens) for _ in range(size - same))]
        return Request(path="completions", body={"prompt": prompt, **_limits(test, info)})

    return make


def _tokens(client: Client, info: ServerInfo, count: int) -> list[int] | None:
    """Return `count` tokens of words; None if the server cannot tokenize."""
    if info.dialect != "llama":
        return None
    words = [random.Random(place).choice(_WORDS) for place in range(count)]  # no secret
    request = {"model": info.model, "content": " ".join(words), "add_special": False}
    try:
        document = client.post(f"{client.address.root}/tokenize", request)
    except RefusedError:
        return None
    found = document.get("tokens") if isinstance(document, dict) else None
    are_tokens = isinstance(found, list) and len(found) >= count and all(isinstance(one, int) for one in found)
    return found[:count] if are_tokens and found is not None else None


def _limits(test: LoadTest, info: ServerInfo) -> dict[str, Any]:
    """Return the parameters of a request: `n_gen` tokens, exactly if the server can ignore the end of an answer."""
    limits: dict[str, Any] = {
        "model": info.model, "max_tokens": test.n_gen, "stream": True, "stream_options": {"include_usage": True},
        "temperature": 0,
    }  # fmt: skip
    if info.dialect == "llama":
        limits["ignore_eos"] = True
    return limits
