"""Questions become turns: tokens as they are, and variables of the chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded
from llamacli.engine.engine import Engine
from llamacli.errors import ModelUnsupportedError, UsageError

SHOUTING = "{% for message in messages %}{{ message['content'] }}{% endfor %}{{ '!' if shouts else '.' }}"


@pytest.fixture(scope="module")
def engine(tiny_model: Path):
    with Engine(tiny_model) as engine:
        yield engine


def test_tokens_are_continued_as_they_are(engine: Engine) -> None:
    tokens = (1, *engine.tokenize("Hello world"))
    turn = engine.render(Question(tokens=tokens))
    assert turn.prompt.tokens == tokens
    assert turn.prompt.text == "<|im_start|>Hello world"
    assert not turn.is_chat
    assert b"".join(engine.pieces(tokens)) == engine.detokenize(tokens)


def test_unknown_tokens_are_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="token 100000 is not in the vocabulary"):
        engine.render(Question(tokens=(100000,)))


@pytest.mark.parametrize(("variables", "ending"), [(None, "."), ({"shouts": True}, "!")])
def test_variables_reach_the_template(engine: Engine, variables: dict[str, bool] | None, ending: str) -> None:
    question = Question(conversation=(Message("user", "Hello"),), template=SHOUTING, variables=variables)
    assert engine.render(question).prompt.text.endswith(ending)


def test_the_description_says_what_the_model_can_do(engine: Engine, tiny_embedding_model: Path) -> None:
    described = engine.describe()
    assert described.can_generate
    assert described.chat_template == tiny.CHATML
    assert described.n_embd == 64
    assert described.pooling is None
    with Engine(tiny_embedding_model) as embedding:
        assert embedding.describe().pooling == "mean"


def test_tokens_are_embedded_like_their_text(tiny_embedding_model: Path) -> None:
    with Engine(tiny_embedding_model) as engine:
        tokens = tuple(engine.tokenize("Hello world"))
        of_text, of_tokens, of_others = engine.embed(["Hello world", tokens, (100000,)])
        assert isinstance(of_text, Embedded)
        assert isinstance(of_tokens, Embedded)
        assert of_text.vectors.tolist() == of_tokens.vectors.tolist()
        assert isinstance(of_others, NotEmbedded)
        with pytest.raises(ModelUnsupportedError, match="not a reranking model"):
            list(engine.rerank("query", ["text"]))
