"""The official Python clients of OpenAI and Anthropic, unmodified, against a live server with the tiny model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pydantic
import pytest
import tiny
import tiny_bert
from serving import LiveServer, serving, spec_of, wait_for

from llamacli.server.security.rate_limit import parse_rate_limit
from llamacli.store.api_keys import ApiKey, digest_of

KEY = "sk-of-the-clients"
TEMPLATE = (Path(__file__).parents[2] / "vendor/llama.cpp/models/templates/Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
HELLO: Any = [{"role": "user", "content": "Hello"}]
LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look somewhere.",
        "parameters": {
            "type": "object",
            "properties": {"where": {"type": "string", "enum": ["up", "down"]}},
            "required": ["where"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Pick(pydantic.BaseModel):
    """What the parsing helpers of the client expect."""

    model_config = pydantic.ConfigDict(extra="forbid")
    fruit: bool
    size: int = pydantic.Field(ge=0, le=9)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("models")
    chat, bert = tiny.tiny_model(folder / "chat.gguf", context=4096), tiny_bert.tiny_bert(folder / "bert.gguf")
    keys = (
        ApiKey(name="clients", digest=digest_of(KEY)),
        ApiKey(name="other", digest=digest_of("sk-other-client")),
        ApiKey(name="limited", digest=digest_of("sk-limited"), limit="1/h"),
    )
    with serving(spec_of(chat, template=TEMPLATE, n_ctx=4096), spec_of(bert), keys=keys) as live:
        yield live


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(server: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.base, api_key=KEY, max_retries=0) as client:
        yield client


# --- OpenAI ---------------------------------------------------------------------------------------------------------------


def test_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="chat", messages=HELLO, max_completion_tokens=8, temperature=0)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    stream = client.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    )
    assert chunks[-1].usage == whole.usage.model_copy(update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details})


def test_chat_from_a_coroutine(server: LiveServer) -> None:
    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key=KEY, max_retries=0) as client:

            async def one(seed: int) -> str:
                stream = await client.chat.completions.create(
                    model="chat", messages=HELLO, max_tokens=12, seed=seed, temperature=1, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return [*await asyncio.gather(*map(one, range(8))), await one(3)]

    *together, alone = asyncio.run(main())
    assert together[3] == alone
    assert len(set(together)) > 4


def test_an_answer_is_parsed_into_a_model(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model="chat", messages=HELLO, response_format=Pick, seed=1, temperature=1.0)
    assert isinstance(parsed.choices[0].message.parsed, Pick)
    with client.chat.completions.stream(model="chat", messages=HELLO, response_format=Pick, seed=1, temperature=1.0) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.parsed == parsed.choices[0].message.parsed


def test_tools_are_called_with_arguments_that_fit(client: openai.OpenAI) -> None:
    fields: Any = {"model": "chat", "messages": HELLO, "tools": [LOOK], "tool_choice": "required", "seed": 4, "max_tokens": 400}
    whole = client.chat.completions.create(**fields, parallel_tool_calls=False)
    assert whole.choices[0].finish_reason == "tool_calls"
    (call,) = whole.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments)["where"] in ("up", "down")
    with client.chat.completions.stream(**fields, parallel_tool_calls=False) as stream:
        stream.until_done()
        streamed = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [one.function.arguments for one in streamed] == [call.function.arguments]
    again = client.chat.completions.create(
        model="chat",
        tools=[LOOK],
        max_tokens=4,
        messages=[
            *HELLO,
            whole.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "blue"},
        ],
    )
    assert again.usage is not None
    assert again.usage.prompt_tokens > whole.usage.prompt_tokens  # type: ignore[union-attr]


def test_a_call_that_is_cut_is_not_called_a_call(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(
        model="chat", messages=HELLO, tools=[LOOK], tool_choice={"type": "function", "function": {"name": "look"}}, max_tokens=4
    )
    assert cut.choices[0].finish_reason == "length"


def test_texts(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="chat", prompt=["Hello", "He"], max_tokens=4, temperature=0, logprobs=1)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert whole.choices[0].logprobs is not None
    texts = ["", ""]
    for chunk in client.completions.create(model="chat", prompt=["Hello", "He"], max_tokens=4, temperature=0, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]


def test_vectors(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="bert", input=["hello", "a cat"])  # base64 on the wire
    plain = client.embeddings.create(model="bert", input=["hello", "a cat"], encoding_format="float")
    assert [one.embedding for one in packed.data] == [pytest.approx(one.embedding, abs=1e-6) for one in plain.data]
    assert len(client.embeddings.create(model="bert", input="hello", dimensions=4).data[0].embedding) == 4


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["chat", "bert"]
    assert client.models.retrieve("chat").owned_by == "llamacli"


def test_errors_have_the_classes_of_the_client(server: LiveServer, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chat", messages=HELLO, top_p=2e40)
    assert caught.value.param == "top_p"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "word " * 5000}], stream=True)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.base}/v1", api_key="sk-wrong", max_retries=0).models.list()
    limited = openai.OpenAI(base_url=f"{server.base}/v1", api_key="sk-limited", max_retries=0)
    limited.models.list()
    with pytest.raises(openai.RateLimitError) as refused:
        limited.models.list()
    assert int(refused.value.response.headers["retry-after"]) > 1000


def test_responses_are_continued_kept_and_forgotten(server: LiveServer, client: openai.OpenAI) -> None:
    first = client.responses.create(model="chat", input="Hello", max_output_tokens=8, temperature=0)
    assert first.status == "incomplete"
    assert first.output_text
    second = client.responses.create(model="chat", input="More", previous_response_id=first.id, max_output_tokens=4)
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + 8  # type: ignore[union-attr]
    assert client.responses.retrieve(first.id).output_text == first.output_text
    assert [item.content[0].text for item in client.responses.input_items.list(first.id)] == ["Hello"]  # type: ignore[union-attr]
    other = openai.OpenAI(base_url=f"{server.base}/v1", api_key="sk-other-client", max_retries=0)
    with pytest.raises(openai.NotFoundError):
        other.responses.retrieve(first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="there is no response"):
        client.responses.create(model="chat", input="x", previous_response_id=first.id)
    unkept = client.responses.create(model="chat", input="Hello", max_output_tokens=1, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_responses_stream_typed_events(client: openai.OpenAI) -> None:
    fields: Any = {"model": "chat", "input": "Hello", "max_output_tokens": 8, "temperature": 0}
    whole = client.responses.create(**fields)
    events = list(client.responses.create(**fields, stream=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.incomplete"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == whole.output_text
    with client.responses.stream(model="chat", input="Hello", text_format=Pick, temperature=1.0) as stream:
        parsed = stream.get_final_response().output_parsed
    assert isinstance(parsed, Pick)
    tool = {"type": "function", **LOOK["function"]}
    called = client.responses.create(model="chat", input="Hello", tools=[tool], tool_choice="required", max_output_tokens=400)
    assert [item.type for item in called.output] == ["function_call"]


# --- Anthropic ------------------------------------------------------------------------------------------------------------


def test_messages(claude: anthropic.Anthropic) -> None:
    fields: Any = {"model": "chat", "messages": HELLO, "max_tokens": 8, "system": "Be brief."}
    fields["extra_body"] = {"temperature": 0}  # the client has no argument for it
    whole = claude.messages.create(**fields)
    assert whole.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == 8
    with claude.messages.stream(**fields) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text  # type: ignore[union-attr]
    assert [block.text for block in final.content] == [text]  # type: ignore[union-attr]
    counted = claude.messages.count_tokens(model="chat", messages=HELLO, system="Be brief.")
    cached = final.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == final.usage.input_tokens + cached


def test_messages_use_tools(claude: anthropic.Anthropic) -> None:
    tool: Any = {"name": "look", "description": "Look.", "input_schema": LOOK["function"]["parameters"]}
    fields: Any = {"model": "chat", "messages": HELLO, "max_tokens": 400, "tools": [tool], "tool_choice": {"type": "any"}}
    whole = claude.messages.create(**fields)
    assert whole.stop_reason == "tool_use"
    use = whole.content[-1]
    assert use.type == "tool_use"
    assert use.input["where"] in ("up", "down")  # type: ignore[index]
    with claude.messages.stream(**fields) as stream:
        assert stream.get_final_message().content[-1].type == "tool_use"


def test_errors_of_messages_have_the_form_of_their_api(server: LiveServer, claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(model="claude-9", messages=HELLO, max_tokens=1)
    body: Any = missing.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "not_found_error"
    assert body["request_id"].startswith("req_")
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        claude.messages.create(model="chat", messages=HELLO, max_tokens=-5)
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=server.base, api_key="sk-wrong", max_retries=0).messages.create(
            model="chat", messages=HELLO, max_tokens=1
        )


def test_a_client_waits_as_long_as_it_is_told(tiny_model: Path) -> None:
    with (
        serving(spec_of(tiny_model), limit=parse_rate_limit("1/s")) as server,
        openai.OpenAI(base_url=f"{server.base}/v1", api_key="none", max_retries=3) as client,
    ):
        for _ in range(3):
            client.models.list()
        wait_for(lambda: [record.status for record in server.records].count(200) == 3)
        assert 429 in [record.status for record in server.records]
