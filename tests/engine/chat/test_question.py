"""Questions become turns: tokens as they are, and variables of the chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.chat.question import Question
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded
from llamacli.engine.engine import Engine
from llamacli.errors import ModelUnsupportedError, UsageError

SHOUTING = "{% for message in messages %}{{ message['content'] }}{% endfor %}{{ '!' if shouts else '.' }}"

TYPED = (
    "{% set names = {'string': 'str', 'integer': 'int'} %}"
    "{% for tool in tools or [] %}{% for p in tool.function.parameters.properties.values() %}"
    "[{{ tool.function.name }}: {{ names[p.type] }}]{% endfor %}{% endfor %}"
    "{% for message in messages %}{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}{{ call.function.name }}{% endfor %}{% endfor %}"
)
"""A template that fails where a parameter has several types, as that of Hermes does."""


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


def tool(name: str, kind: object) -> Tool:
    return Tool(name, parameters={"type": "object", "properties": {"a": {"type": kind}}})


def test_tools_with_which_the_template_fails_are_left_out(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    question = Question(
        text="Hi", template=TYPED, tools=(tool("one", "string"), tool("two", ["string", "null"]), tool("three", "integer"))
    )
    with Engine(tiny_model) as engine:
        texts = [engine.render(question).prompt.text for _ in range(2)]
    assert texts == ["[one: str][three: int]Hi"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "the tool two is left out: with it, the chat template fails at line 1, column 177: Object key of unhashable type: Array"
    ]


def test_a_template_that_fails_anyway_says_why(engine: Engine) -> None:
    broken = TYPED + "{% if messages[0].content == 'Bad' %}{{ raise_exception('never') }}{% endif %}"
    with pytest.raises(UsageError, match="never"):
        engine.render(Question(text="Bad", template=broken, tools=(tool("one", "string"),)))
    with pytest.raises(UsageError, match="unhashable"):
        engine.render(Question(text="Hi", template=TYPED, tools=(tool("two", ["string", "null"]),), tool_choice="required"))
    assert engine.render(Question(text="Hi", template=TYPED, tools=(tool("two", ["string", "null"]),))).prompt.text == "Hi"
