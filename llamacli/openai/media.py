"""Pictures and sounds in requests: the parts of OpenAI's Responses, and the blocks of Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamacli.engine.media.media import Media
from llamacli.errors import LlamacliError, MediaError, UsageError
from llamacli.openai.fields import Fields


def read_input_image(fields: Fields) -> Media:
    """Read a part `input_image`, whose `image_url` is a data URL.

    Raises:
        UsageError, MediaError: if it has another form, or the picture is unreadable; `parameter` names the field.
    """
    fields.choice("detail", ("auto", "low", "high", "original"))
    fields.only("file_id", None, why="files are not kept for prompts")
    return _read(fields, "image_url", {"type": "image_url", "image_url": {"url": fields.required_text("image_url")}})


def read_input_audio(fields: Fields) -> Media:
    """Read a part `input_audio`. Raises as `read_input_image`."""
    return _read(fields, "input_audio", {"type": "input_audio", "input_audio": fields.value("input_audio")})


def read_image_block(fields: Fields) -> Media:
    """Read a block `image` with a source in base64. Raises as `read_input_image`."""
    source = fields.inner("source")
    if source is None:
        raise fields.fault("source", "is missing")
    if source.required_text("type") != "base64":
        raise source.fault("type", "must be base64: addresses and files are not fetched")
    source.required_text("media_type")
    url = f"data:;base64,{source.required_text('data')}"
    source.finish()
    return _read(source, "data", {"type": "image_url", "image_url": {"url": url}})


def _read(fields: Fields, name: str, part: Mapping[str, Any]) -> Media:
    from llamacli.engine.media.read import read_part  # most requests have text only

    try:
        return read_part(part, fields.name(name))
    except (UsageError, MediaError) as error:
        kind: type[LlamacliError] = type(error)
        raise kind(error.message, hint=error.hint, parameter=fields.name(name)) from error
