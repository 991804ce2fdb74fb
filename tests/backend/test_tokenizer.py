"""Vocabularies in a child: the tokens of the tokenizer in this process, bounded pieces, errors in their places, and death."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenize_cases as cases

from llamacli.backend.child.feeder import TextFeeder
from llamacli.backend.child.services.tokenizer import fed_documents
from llamacli.backend.child.tokenizer import Vocabularies
from llamacli.backend.child.tokens import RefusedText, TextBlock, TokenizedPart
from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.faults import Fault
from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized, checked, chunks_of, text_document
from llamacli.engine.tokenization.spans import Spans
from llamacli.engine.tokenization.tokenizer import Tokenizer
from llamacli.errors import CancelledError, EngineDiedError, UsageError

TEXT = "Hello wörld 日本語 🏠 and a_b, 12345\n\n"


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Iterator[Vocabularies]:
    other = next(path for path in cases.VOCABULARIES if path.stem == "ggml-vocab-gpt-2")
    with Vocabularies([tiny_model, other]) as opened:
        yield opened


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def documents(*, blocks: int) -> list[Document]:
    """Short texts, an empty one, one that fails late, and one of many parts, in blocks of some bytes."""
    texts = [TEXT * 3, "", TEXT, TEXT * 8_000]
    found = [Document(str(number), functools.partial(cut, text.encode(), blocks)) for number, text in enumerate(texts)]
    found.insert(2, Document("broken", lambda: (b"Hello " * 1000, b"\xff", b"x")))
    return found


@pytest.mark.parametrize("blocks", [7001, 1 << 18])
@pytest.mark.parametrize("number", [0, 1])
def test_the_chunks_are_those_of_the_tokenizer_here(loaded: Vocabularies, tiny_model: Path, number: int, blocks: int) -> None:
    theirs = loaded.tokenizer(number, special=True, describes=True)
    path = [tiny_model, next(path for path in cases.VOCABULARIES if path.stem == "ggml-vocab-gpt-2")][number]
    with Model(path, vocab_only=True) as model:
        ours = Tokenizer(model, special=True)
        expected = list(ours.outcomes(map(checked, documents(blocks=blocks))))
        got = list(theirs.outcomes(documents(blocks=blocks)))
        spans = Spans(ours.vocabulary)
        their_spans = Spans(theirs.vocabulary)
        assert len(got) > 6
        for one, other in zip(expected, got, strict=True):
            assert type(one) is type(other)
            if isinstance(one, Chunk) and isinstance(other, Chunk):
                assert (one.tokens, one.lead, one.tail, one.has_added_space) == (
                    other.tokens, other.lead, other.tail, other.has_added_space,
                )  # fmt: skip
                assert (one.part.data, one.part.start) == (other.part.data, other.part.start)
                assert (one.part.is_first, one.part.is_last) == (other.part.is_first, other.part.is_last)
                assert spans.of(one) == their_spans.of(other)
            elif isinstance(one, NotTokenized) and isinstance(other, NotTokenized):
                assert (str(one.error), one.document.name) == (str(other.error), other.document.name)


def test_several_texts_are_tokenized_side_by_side(loaded: Vocabularies) -> None:
    text = [text_document("text", TEXT.encode() * 6_000)]
    first, second = (chunks_of(loaded.tokenizer(number), text) for number in (0, 1))
    sizes = [0, 0]
    for pair in itertools.zip_longest(first, second):
        for number, chunk in enumerate(pair):
            sizes[number] += len(chunk.part.data) if chunk is not None else 0
    assert sizes == [len(TEXT.encode()) * 6_000] * 2


def test_pending_chunks_come_before_the_next_document_is_waited_for(loaded: Vocabularies) -> None:
    asked: list[int] = []

    def lines() -> Iterator[Document | None]:
        for number in range(3):
            asked.append(number)
            yield text_document(str(number), b"Hello")
            yield None

    outcomes = loaded.tokenizer().outcomes(lines())
    for number in range(3):
        outcome = next(outcomes)
        assert isinstance(outcome, Chunk)
        assert (outcome.part.document.name, asked) == (str(number), list(range(number + 1)))


def test_a_text_of_which_nothing_more_is_wanted_is_not_read_to_its_end(loaded: Vocabularies) -> None:
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        for _ in range(400):  # 100 MB without a place to cut
            read += 1
            yield b"a" * (1 << 18)

    outcomes = list(loaded.tokenizer(0).outcomes([Document("long", blocks), text_document("next", b"Hello")]))
    assert [type(outcome) for outcome in outcomes] == [NotTokenized, Chunk]
    assert isinstance(outcomes[0], NotTokenized)
    assert outcomes[0].error.message.startswith("long has 4,")
    assert read < 100


def test_ids_become_text_again_in_bounded_stretches(loaded: Vocabularies) -> None:
    data = TEXT.encode() * 9_000
    ids = array("i")
    for chunk in chunks_of(loaded.tokenizer(), [text_document("text", data)]):
        ids += chunk.tokens
    got = list(loaded.detokenize([ids, None, ids[:1]]))
    assert max(len(part) for part, _ in got) <= 1 << 18
    assert [is_last for _, is_last in got].count(True) == 2


def test_an_id_that_is_in_no_vocabulary_is_refused(loaded: Vocabularies) -> None:
    with pytest.raises(UsageError, match="token 99999999 is not in the vocabulary"):
        list(loaded.detokenize([array("i", [1]), array("i", [99_999_999])]))


def test_cancel_ends_the_work(tiny_model: Path) -> None:
    with Vocabularies([tiny_model]) as opened:
        timer = threading.Timer(0.5, opened.cancel)
        timer.start()
        started = time.monotonic()
        endless = Document("endless", lambda: itertools.repeat(TEXT.encode() * 1000))
        with pytest.raises(CancelledError):
            for _ in opened.tokenizer().outcomes([endless]):
                pass
        assert time.monotonic() - started < 5
        timer.join()


def test_a_death_in_the_middle_is_one_error(tiny_model: Path) -> None:
    with Vocabularies([tiny_model]) as opened:
        endless = Document("endless", lambda: itertools.repeat(TEXT.encode() * 1000))
        outcomes = opened.tokenizer().outcomes([endless])
        next(outcomes)
        os.kill(opened.pid, signal.SIGSEGV)
        with pytest.raises(EngineDiedError, match="the engine died"):
            list(outcomes)


def test_fed_documents_are_put_together_and_skipped() -> None:
    feeds = [
        [TextBlock("a", b"1", "more"), TextBlock("a", b"2", "last"), TextBlock("b", b"3", "more")],
        [TextBlock("b", b"4", "more")],
        [TextBlock("b", b"5", "last")],
        None,
        [TextBlock("c", b"6", "more"), TextBlock("c", b"", "broken")],
    ]
    read: list[object] = []
    for document in fed_documents(feeds):
        if document is None:
            read.append(None)
        elif document.name == "b":
            read.append(next(iter(document.blocks())))
        else:
            try:
                read.append(b"".join(document.blocks()))
            except UsageError as error:
                read.append(str(error))
    assert read == [b"12", b"3", None, None, "c cannot be read"]


@pytest.mark.parametrize(
    "answers",
    [
        [TokenizedPart(b"", 5, 0, 0, False, True, [])],
        [TokenizedPart(b"", 2, 0, 0, False, True, []), TokenizedPart(b"", 0, 0, 0, False, True, [])],
        [RefusedText(Fault("UsageError", "x"))] * 2,
    ],
)
def test_a_child_that_answers_what_it_was_not_asked_is_refused(answers: list[TokenizedPart | RefusedText]) -> None:
    feeder = TextFeeder([text_document("text", b"ab")], replace=False)
    feeder.source(4)
    *accepted, last = answers
    for answer in accepted:
        feeder.outcome(answer)
    with pytest.raises(ProtocolError):
        feeder.outcome(last)
