"""The commands about messages: regenerate, undo, edit, branches, files, and leaving."""

from __future__ import annotations

from llamacli.engine.chat.message import Message
from llamacli.errors import UsageError
from llamacli.repl.commands.compact import revert_compact
from llamacli.repl.commands.media import attach_found
from llamacli.repl.commands.registry import COMMANDS, command, find, format_help, parse_number, paths_of
from llamacli.repl.conversation.blocks import strip_fences
from llamacli.repl.conversation.passages import with_passages
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.tool_calls import close_calls
from llamacli.repl.conversation.trace import Beginning
from llamacli.repl.conversation.tree import Node
from llamacli.retrieval.quotation import question_of
from llamacli.units import counted

_PREVIEW = 60


@command("help", arguments="[COMMAND]", summary="Show the commands", completes="commands")
def show_help(chat: Chat, argument: str) -> None:
    """Show all commands and keys, or one command."""
    screen, wanted = chat.setup.screen, [find(argument.lstrip("/"))] if argument else COMMANDS.values()
    screen.write(format_help(wanted, screen.size()[0], lambda title: screen.paint(title, "1")))
    if argument:
        return
    screen.note("Enter sends, Alt-Enter or Ctrl-J starts a new line, Ctrl-C stops an answer, Ctrl-R searches.")
    screen.note('Between lines of """ Enter starts a new line. Ctrl-O or Ctrl-X Ctrl-E opens an editor.')
    screen.note("Ctrl-Z suspends, Ctrl-D leaves.")


@command("continue", summary="Continue the last answer where it was cut")
def continue_answer(chat: Chat, argument: str) -> None:
    """Continue after the same tokens, so that none is evaluated again."""
    answer = chat.tree.path()[-1:]
    if not answer or answer[0].message.role != "assistant":
        raise UsageError("no answer to continue", hint="/retry answers the last message")
    if not answer[0].cut:
        raise UsageError("the last answer is complete", hint="/regen generates another one")
    trace = chat.traces.get(answer[0].id)
    chat.turn.beginning = Beginning(answer[0].parent, trace.steps if trace is not None else (), answer[0])
    chat.turn.wants_answer = True


@command("retry", summary="Send an unanswered message again, else as /regen")
def retry(chat: Chat, argument: str) -> None:
    """Repeat after an error, or after a stop before the first word."""
    if chat.turn.unanswered:
        send(chat, chat.turn.unanswered)
    else:
        regenerate(chat, argument)


@command("regen", summary="Answer again; the old answer stays as a branch")
def regenerate(chat: Chat, argument: str) -> None:
    """Generate another answer to the last message."""
    chat.tree.move(_last_question(chat).id)
    chat.turn.wants_answer = True


@command("undo", summary="Remove the last message; it stays as a branch")
def undo(chat: Chat, argument: str) -> None:
    """Return to the state before the last message of the user, or before the last /compact."""
    if revert_compact(chat):
        chat.setup.screen.note("reverted the summary; it stays as a branch")
        return
    question = _last_question(chat)
    chat.tree.move(question.parent)
    chat.setup.screen.note(f"removed: {preview(question)}")


@command("edit", summary="Edit and send again; the old message stays as a branch")
def edit(chat: Chat, argument: str) -> None:
    """Return to the state before the last message, which becomes the draft."""
    question = _last_question(chat)
    chat.tree.move(question.parent)
    chat.turn.draft = question_of(question.message.text)


@command("branches", summary="List the branches of the conversation")
def branches(chat: Chat, argument: str) -> None:
    """List the last message of each branch."""
    tips = chat.tree.tips()
    if not tips:
        chat.setup.screen.note("the conversation is empty")
    for number, tip in enumerate(tips, start=1):
        start = f"{'*' if tip.id == chat.tree.head else ' '} {number}  "
        count = len(chat.tree.path(tip.id))
        chat.setup.screen.show_row(start, f"{counted(count, 'message')}, last: {preview(tip)}")


@command("branch", arguments="N", summary="Continue with branch N of /branches", completes="branches")
def branch(chat: Chat, argument: str) -> None:
    """Continue with another branch."""
    tips = chat.tree.tips()
    number = parse_number(argument, len(tips))
    if number is None:
        raise UsageError(f"/branch needs a number from 1 to {len(tips)}" if tips else "the conversation has no branches yet")
    tip = tips[number - 1]
    chat.tree.move(tip.id)
    chat.setup.screen.note(f"last message: {preview(tip)}")


@command("clear", "new", summary="Begin again; the old one stays as a branch")
def clear(chat: Chat, argument: str) -> None:
    """Return to the state before the first message."""
    chat.tree.move(None)
    chat.measured = None
    chat.turn.attachments.clear()
    chat.setup.screen.note("new conversation")


@command("file", arguments="PATH… | none", summary="Send the text of documents with the next message", completes="files")
def attach(chat: Chat, argument: str) -> None:
    """Read documents now, and show their length."""
    if argument == "none":
        chat.turn.attachments.clear()
        return
    engine = chat.engine()
    for word in paths_of(argument, "file"):
        for found in chat.setup.host.read_documents(word):
            if found.media is not None:
                attach_found(chat, found, found.media)
                continue
            chat.turn.attachments.append(found)
            count = len(engine.text_turn(found.text).prompt.tokens) if engine.has_vocabulary else 0
            size = f"{counted(count, 'token')}, " if engine.has_vocabulary else ""
            chat.setup.screen.note(f"{found.name}: {size}sent with the next message")


@command("quit", "exit", "bye", summary="Leave, as Ctrl-D does")
def leave(chat: Chat, argument: str) -> None:
    """End the conversation."""
    chat.leaving = True


def send(chat: Chat, text: str) -> None:
    """Add a message of the user, after the attached files, and request an answer."""
    close_calls(chat)  # another process may have been killed during a call
    attachments = chat.turn.attachments
    parts = [*(one.text.rstrip("\n") for one in attachments if one.media is None), strip_fences(text)]
    message = "\n\n".join(parts)
    wrap = chat.setup.wrap
    media = tuple(one.media for one in attachments if one.media is not None)
    chat.turn.draft = chat.turn.unanswered = text
    message = with_passages(chat, message if wrap is None else wrap(message), strip_fences(text))
    chat.tree.add(Message("user", (*media, message) if media else message))
    chat.turn.wants_answer = True


def preview(node: Node) -> str:
    """Return the beginning of a message on one line."""
    calls = (f"calls {call.name}" for call in node.message.tool_calls)
    text = " ".join([*question_of(node.message.text).split(), *calls])
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"


def _last_question(chat: Chat) -> Node:
    question = chat.tree.last("user")
    if question is None:
        raise UsageError("the conversation is empty")
    return question
