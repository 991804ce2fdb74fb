"""JSON schemas of requests."""

from __future__ import annotations

import json

import pytest

from llamacli.engine.chat.question import Question
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError
from llamacli.openai.batch_request import RowDefaults
from llamacli.openai.batch_row import Row
from llamacli.openai.chat_request import read_chat
from llamacli.openai.schema import json_constraint

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}


@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)], ids=["object", "text"])
def test_the_properties_of_an_answer_have_the_order_of_the_schema(schema: object) -> None:
    grammar = json_constraint(schema, strict=True).grammar.grammar
    assert grammar.index("root-name-kv") < grammar.index("root-age-kv")
    row = Row(0, {"prompt": "Hi", "json_schema": schema})
    request = RowDefaults(Question(), GenerationParams()).request(row)
    assert request.question.constraint.grammar.grammar == grammar
    fields = {"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_object", "schema": SCHEMA}}
    assert read_chat(fields, SamplingParams()).questions[0].constraint.grammar.grammar == grammar


def test_a_number_with_too_many_digits_is_refused() -> None:
    with pytest.raises(UsageError, match="too many digits"):
        json_constraint({"const": 10**5000}, strict=True)
