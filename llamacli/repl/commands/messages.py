"""The commands about what is said: asking again, taking back, files, and leaving."""

from __future__ import annotations

import shlex
from pathlib import Path

from llamacli.engine.chat.message import Message
from llamacli.errors import UsageError
from llamacli.repl.app.key_bindings import without_fences
from llamacli.repl.commands.compact import take_back
from llamacli.repl.commands.registry import COMMANDS, command, find, format_help, numbered
from llamacli.repl.conversation.state import Attachment, Chat
from llamacli.repl.conversation.tool_calls import STOPPED, close_calls
from llamacli.repl.conversation.trace import Beginning
from llamacli.repl.conversation.tree import Node

_PREVIEW = 60


@command("help", arguments="[COMMAND]", summary="Show what the commands do", completes="commands")
def show_help(chat: Chat, argument: str) -> None:
    """All commands and keys, or one command."""
    screen, wanted = chat.setup.screen, [find(argument.lstrip("/"))] if argument else COMMANDS.values()
    screen.write(format_help(wanted, screen.size()[0], lambda title: screen.paint(title, "1")))
    if argument:
        return
    screen.say("Enter sends, Alt-Enter or Ctrl-J begins a line, Ctrl-C stops an answer, Ctrl-R searches.")
    screen.say('Between lines of """ Enter begins a line. Ctrl-O or Ctrl-X Ctrl-E opens an editor, Ctrl-D leaves.')


@command("continue", summary="Go on with the last answer where it was cut")
def go_on(chat: Chat, argument: str) -> None:
    """With the same tokens, so that nothing is evaluated again."""
    answer = chat.tree.path()[-1:]
    if not answer or answer[0].message.role != "assistant":
        raise UsageError("there is no answer to go on with", hint="/retry answers the last message")
    if not answer[0].cut:
        raise UsageError("the last answer is complete", hint="/regen asks for another one")
    trace = chat.traces.get(answer[0].id)
    chat.beginning = Beginning(answer[0].parent, trace.steps if trace is not None else (), answer[0])
    chat.wants_answer = True


@command("retry", summary="Send again what got no answer; if it has one, as /regen")
def retry(chat: Chat, argument: str) -> None:
    """After an error, or when it was stopped before the first word."""
    if chat.unanswered:
        send(chat, chat.unanswered)
    else:
        regenerate(chat, argument)


@command("regen", summary="Answer again; the old answer stays as a branch")
def regenerate(chat: Chat, argument: str) -> None:
    """Another answer to the last message."""
    chat.tree.move(_last_question(chat).id)
    chat.wants_answer = True


@command("undo", summary="Take back the last message; it stays as a branch")
def undo(chat: Chat, argument: str) -> None:
    """Goes back before the last message of the user, or before the last /compact."""
    if take_back(chat):
        chat.setup.screen.say("the summary is taken back; it stays as a branch")
        return
    question = _last_question(chat)
    chat.tree.move(question.parent)
    chat.setup.screen.say(f"taken back: {preview(question)}")


@command("edit", summary="Edit and send again; the old message stays as a branch")
def edit(chat: Chat, argument: str) -> None:
    """Goes back before the last message, which becomes the draft."""
    question = _last_question(chat)
    chat.tree.move(question.parent)
    chat.draft = question.message.text


@command("branches", summary="List the branches of the conversation")
def branches(chat: Chat, argument: str) -> None:
    """The last message of each branch."""
    tips = chat.tree.tips()
    if not tips:
        chat.setup.screen.say("nothing was said yet")
    for number, tip in enumerate(tips, start=1):
        mark = "*" if tip.id == chat.tree.head else " "
        chat.setup.screen.show(f"{mark} {number}  {len(chat.tree.path(tip.id))} messages, the last: {preview(tip)}")


@command("branch", arguments="N", summary="Go on with branch N of /branches", completes="branches")
def branch(chat: Chat, argument: str) -> None:
    """Moves to another branch."""
    tips = chat.tree.tips()
    number = numbered(argument, len(tips))
    if number is None:
        raise UsageError(f"/branch takes a number from 1 to {len(tips)}" if tips else "there are no branches yet")
    tip = tips[number - 1]
    chat.tree.move(tip.id)
    chat.setup.screen.say(f"the last message is now: {preview(tip)}")


@command("clear", "new", summary="Begin anew; what was said stays as a branch")
def clear(chat: Chat, argument: str) -> None:
    """Goes back to the beginning."""
    chat.tree.move(None)
    chat.measured = None
    chat.attachments.clear()
    chat.setup.screen.say("a new beginning")


@command("file", arguments="PATH… | none", summary="Send the text of files with the next message", completes="files")
def attach(chat: Chat, argument: str) -> None:
    """Reads files now, and says how long they are."""
    if argument == "none":
        chat.attachments.clear()
        return
    try:
        names = shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"these paths make no sense: {error}") from None
    if not names:
        raise UsageError("/file needs a path")
    if len(names) > 1 and Path(argument).expanduser().is_file():  # a name with spaces, as completion writes it
        names = [argument]
    engine = chat.engine()
    for name in names:
        path = Path(name).expanduser()
        text = chat.setup.read_file(path)
        attachment = Attachment(path, text, len(engine.text_turn(text).prompt.tokens))
        chat.attachments.append(attachment)
        chat.setup.screen.say(f"{path}: {attachment.tokens} tokens, goes with the next message")


@command("quit", "exit", "bye", summary="Leave, as Ctrl-D does")
def leave(chat: Chat, argument: str) -> None:
    """Ends the conversation."""
    chat.leaving = True


def send(chat: Chat, text: str) -> None:
    """Says something, behind the files that go with it, and wants an answer."""
    close_calls(chat, STOPPED)  # an earlier program may have been killed while one ran
    parts = [*(attachment.text.rstrip("\n") for attachment in chat.attachments), without_fences(text)]
    chat.tree.add(Message("user", "\n\n".join(parts)))
    chat.draft = chat.unanswered = text
    chat.wants_answer = True


def preview(node: Node) -> str:
    """The beginning of a message on one line."""
    calls = (f"calls {call.name}" for call in node.message.tool_calls)
    text = " ".join([*node.message.text.split(), *calls])
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"


def _last_question(chat: Chat) -> Node:
    question = chat.tree.last("user")
    if question is None:
        raise UsageError("nothing was said yet")
    return question
