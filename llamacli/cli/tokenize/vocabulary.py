"""Vocabularies and tokenizers as the options of `tokenize` select them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.cli.tokenize.options import TextOptions, VocabularyOptions
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.child.tokenizer import ChildTokenizer, Vocabularies
    from llamacli.backend.remote.tokenizer import RemoteTokenizer, RemoteVocabulary

PROGRESS_DELAY_SECONDS = 0.5
"""Time before a progress bar is shown."""


@contextmanager
def open_vocabulary(
    app: AppContext, model: VocabularyOptions, remote: RemoteOptions
) -> Iterator[tuple[Vocabularies | RemoteVocabulary, str]]:
    """The vocabulary of a file or of a server's model, and the model's name.

    Raises:
        UsageError: if several servers are named, or the server does not tokenize.
        ModelError, RemoteError: if there is no model.
    """
    if not remote.url:
        path = app.find_model(app, model.model, offline=model.offline)
        with load([path], model.child()) as loaded:
            yield loaded, path.name
        return
    if len(remote.url) > 1:
        raise UsageError("one --url is enough: the vocabulary is the same on all servers")
    from llamacli.backend.remote.tokenizer import RemoteVocabulary
    from llamacli.cli.framework.backends.remote import open_clients, remote_name

    (client,) = open_clients(app, remote, model.engine_timeout)
    with closing(client), RemoteVocabulary(client, remote_name(model.model)) as served:
        yield served, served.name


def load(paths: Sequence[Path], child: ChildParams) -> Vocabularies:
    """Load the vocabularies of model files in a child process."""
    from llamacli.backend.child.tokenizer import Vocabularies

    return Vocabularies(paths, child)


def tokenizer_for(loaded: Vocabularies, number: int, source: TextOptions, *, describes: bool) -> ChildTokenizer:
    """Return the tokenizer of one of them with the options of texts. `describes`: its tokens will be looked at one by one."""
    return loaded.tokenizer(
        number, special=source.special, wrap=source.bos, replace=source.errors == "replace", describes=describes
    )


def text_tokenizer(
    loaded: Vocabularies | RemoteVocabulary, source: TextOptions, *, describes: bool
) -> ChildTokenizer | RemoteTokenizer:
    """Return the tokenizer of the only vocabulary, here or on a server. See `tokenizer_for`."""
    return loaded.tokenizer(special=source.special, wrap=source.bos, replace=source.errors == "replace", describes=describes)
