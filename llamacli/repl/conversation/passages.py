"""Passages of the index in the messages of a conversation, and the places that its answers cite."""

from __future__ import annotations

from llamacli.repl.conversation.state import Chat
from llamacli.retrieval.passages import token_counter
from llamacli.retrieval.quotation import places_of, quote


def with_passages(chat: Chat, message: str, question: str) -> str:
    """Return a message after the passages that fit the question, if the conversation has an index that is on.

    Raises:
        LlamacliError: if the index cannot be searched.
    """
    index = chat.setup.index
    if index is None or not chat.settings.uses_index or not question.strip():
        return message
    count_tokens = token_counter(chat.engine())
    quotations = quote(index.find(question), index.budget, count_tokens)
    if not quotations.quotations:
        chat.setup.screen.note(f"{index.name} has no passage that fits")
    return quotations.prompt(message)


def show_places(chat: Chat) -> None:
    """Show the places of the passages that the last answer cites, or of all if it cites none."""
    question, answer = chat.tree.last("user"), chat.tree.last("assistant")
    if question is None or answer is None:
        return
    for place in places_of(question.message.text, answer.message.text):
        chat.setup.screen.note(place)
