"""The commands about images and sounds: they go with the next message, if the model takes them."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import unquote

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.media.media import Media
from llamacli.media.kind import MediaKind
from llamacli.repl.commands.registry import command, paths_of
from llamacli.repl.conversation.state import Chat
from llamacli.repl.setup import Attachment
from llamacli.units import counted

_FILE_URL = "file://"


@command("image", arguments="PATH…", summary="Send images with the next message (/file none: none)", completes="files")
def attach_image(chat: Chat, argument: str) -> None:
    """Decode images now, and show their size."""
    attach_media(chat, paths_of(argument, "image"), "image")


@command("audio", arguments="PATH…", summary="Send sounds with the next message (/file none: none)", completes="files")
def attach_audio(chat: Chat, argument: str) -> None:
    """Decode sounds now, and show their duration."""
    attach_media(chat, paths_of(argument, "audio"), "audio")


def attach_media(chat: Chat, words: list[str], kind: MediaKind | None) -> None:
    """Attach files to the next message, each with a line about it.

    Raises:
        UsageError: if one cannot be read, or the model does not take it.
        MediaError: if one is damaged, too large, or not of this kind.
    """
    for word in words:
        found = chat.setup.host.read_media(word, kind)
        assert found.media is not None
        attach_found(chat, found, found.media)


def attach_found(chat: Chat, found: Attachment, media: Media) -> None:
    """Attach a picture or sound to the next message, and show a line about it, and a thumbnail where the terminal can.

    Raises:
        UsageError: if the model does not take it. Then it is not attached.
    """
    line = describe(chat, media)
    chat.turn.attachments.append(found)
    chat.setup.screen.note(f"{found.name}: {line}, sent with the next message")
    if chat.setup.screen.live and (thumbnail := chat.setup.host.thumbnail(media)):
        chat.setup.screen.write(thumbnail)


def describe(chat: Chat, media: Media) -> str:
    """Return the kind of a picture or sound, its size, and its tokens. Raises UsageError if the model does not take it."""
    engine = chat.engine()
    turn = engine.chat_turn([Message("user", (media,))], Rendering(), template=chat.model.found.template)
    size = f"image, {media.width} x {media.height}" if media.kind == "image" else f"sound, {media.seconds:.1f} s"
    if not engine.has_vocabulary:
        return size
    return f"{size}, {counted(sum(token < 0 for token in turn.prompt.tokens), 'token')}"


def dropped_file(chat: Chat, text: str) -> str | None:
    """Return the name of an image or sound if that is all of the text: terminals type the names of files that are dropped."""
    if "\n" in text.strip() or not text.strip():
        return None
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    word = words[0] if len(words) == 1 else text.strip()
    path = Path(unquote(word.removeprefix(_FILE_URL)) if word.startswith(_FILE_URL) else word).expanduser()
    return str(path) if chat.setup.host.is_media(str(path)) else None
