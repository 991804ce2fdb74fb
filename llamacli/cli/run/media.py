"""The images and sounds of `run`: recognized among its files, and the projector that they need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.cli.run.options import Asked, MediaOptions
from llamacli.cli.run.prompt import read_question
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.backends.engine import ModelSetup
    from llamacli.cli.framework.inputs.attachments import Attachment
    from llamacli.engine.chat.question import Question
    from llamacli.engine.constraint.answer_constraint import AnswerConstraint
    from llamacli.media.kind import MediaKind


def read_with_media(
    app: AppContext, prompt: str | None, asked: Asked, constraint: AnswerConstraint | None
) -> tuple[Question, tuple[Attachment, ...]]:
    """Return the question without its images and sounds, and those, which are decoded when the model is known.

    Raises:
        UsageError: what `read_question` raises, or if a prompt without a chat template has some.
    """
    attachments: tuple[Attachment, ...] = ()
    if asked.media.image or asked.media.audio or asked.source.file:
        attachments, asked = _attachments(app, asked)
    question = read_question(app.console, prompt, asked, constraint)
    if attachments and question.is_text:
        raise UsageError("images and sounds need a chat template: --raw, --infill and --at cannot be used with them")
    return question, attachments


def attach(
    app: AppContext, media: MediaOptions, setup: ModelSetup, question: Question, attachments: Sequence[Attachment]
) -> tuple[Question, ModelSetup]:
    """Return the question with its images and sounds, and the model with the projector that they need.

    Raises:
        UsageError: if the model does not take them.
        MediaError: if one is damaged or too large.
    """
    kinds = {one.kind for one in attachments} | {one.kind for message in question.conversation for one in message.media}
    if not kinds and media.mmproj is None:
        return question, setup
    setup, rate = with_projector(app, media, setup, kinds)
    return replace(question, media=tuple(one.read(rate) for one in attachments)), setup


def _attachments(app: AppContext, asked: Asked) -> tuple[tuple[Attachment, ...], Asked]:
    """Return the images and sounds among the files, and the request with the other files."""
    from llamacli.cli.framework.inputs.attachments import attached, split_media

    source = asked.source
    attachments = attached(app.console, asked.media.image, asked.media.audio)
    if source.at is not None or not source.file:
        return attachments, asked
    files, found = split_media(source.file)
    return (*found, *attachments), replace(asked, source=replace(source, file=files))


def with_projector(
    app: AppContext, media: MediaOptions, setup: ModelSetup, kinds: Collection[MediaKind], *, may_come: bool = False
) -> tuple[ModelSetup, int]:
    """Return the model with its projector, and the rate of its sounds. `may_come`: what is asked later may have media.

    Raises:
        UsageError: if the model does not take these kinds of media.
    """
    if setup.remote.url or not (kinds or may_come or media.mmproj is not None):
        from llamacli.gguf.analysis.projector import SOUND_RATE

        return setup, SOUND_RATE
    from llamacli.cli.framework.media import with_projector as found_projector

    found = found_projector(app, setup.model, media, setup.params, kinds)
    return replace(setup, params=found.params), found.sound_rate
