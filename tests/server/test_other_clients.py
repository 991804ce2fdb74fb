"""Other people's clients and servers, unmodified, with a live server: `llm`, LangChain, lm-eval, granian, schemathesis.

`pip install '.[clients]'` installs them; what is not there is skipped.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import tiny
import tiny_bert
from serving import LiveServer, serving, spec_of

from llamacli.engine.chat.question import Question
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.params import ContextParams, GenerationParams

TEMPLATE = (Path(__file__).parents[2] / "vendor/llama.cpp/models/templates/Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
SCHEMATHESIS_SECONDS = 240


def needs(module: str) -> pytest.MarkDecorator:
    """Skip a test if a module is missing."""
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"pip install '.[clients]' installs {module}")


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "chat.gguf", context=4096)


@pytest.fixture(scope="module")
def server(chat_model: Path) -> Iterator[LiveServer]:
    bert = tiny_bert.tiny_bert(chat_model.with_name("bert.gguf"))
    with serving(spec_of(chat_model, template=TEMPLATE, n_ctx=4096), spec_of(bert)) as live:
        yield live


def program(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a module as a program."""
    return subprocess.run(
        [sys.executable, "-P", "-m", *words], capture_output=True, text=True, timeout=240, env={**os.environ, **environ}
    )


# --- llm ------------------------------------------------------------------------------------------------------------------


@needs("llm")
@pytest.mark.parametrize("stream", [(), ("--no-stream",)])
def test_llm_answers_with_an_openai_compatible_model(server: LiveServer, tmp_path: Path, stream: tuple[str, ...]) -> None:
    models = (
        f"- model_id: mine\n  model_name: chat\n  api_base: {server.base}/v1\n  supports_schema: true\n  supports_tools: true\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(models)
    options = ("-m", "mine", "-o", "max_tokens", "8", "-o", "temperature", "0", "--key", "none", *stream)
    found = program("llm", "prompt", "Hello", *options, LLM_USER_PATH=str(tmp_path))
    assert found.returncode == 0, found.stderr
    fields = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
    expected = server.post("/v1/chat/completions", fields).json()["choices"][0]["message"]["content"]
    assert found.stdout.strip() == expected.strip()
    schema = program(
        "llm", "prompt", "Hello", *options[:2], "--key", "none", "--schema", "fruit bool", *stream, LLM_USER_PATH=str(tmp_path)
    )
    assert schema.returncode == 0, schema.stderr
    assert json.loads(schema.stdout).keys() == {"fruit"}


# --- LangChain ------------------------------------------------------------------------------------------------------------


@needs("langchain_openai")
@pytest.mark.filterwarnings("ignore")
def test_langchain_chats_streams_parses_calls_and_embeds(server: LiveServer) -> None:
    import pydantic
    from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

    class Pick(pydantic.BaseModel):
        """A fruit or not."""

        model_config = pydantic.ConfigDict(extra="forbid")
        fruit: bool

    def look(where: Literal["up", "down"]) -> str:
        """Look somewhere."""
        return where

    common: dict[str, Any] = {"base_url": f"{server.base}/v1", "api_key": "none", "model": "chat", "temperature": 0}
    model = ChatOpenAI(**common, max_tokens=8, stream_usage=True)
    whole = model.invoke("Hello")
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 8
    assert "".join(str(chunk.content) for chunk in model.stream("Hello")) == whole.content
    free = ChatOpenAI(**{**common, "temperature": 1.0}, seed=1)
    assert isinstance(free.with_structured_output(Pick, method="json_schema").invoke("Hello"), Pick)
    (call,) = (
        free.bind_tools([look], tool_choice="any", parallel_tool_calls=False).bind(max_tokens=600).invoke("Hello").tool_calls
    )
    assert call["name"] == "look"
    assert ChatOpenAI(**common, max_tokens=8, use_responses_api=True).invoke("Hello").text
    assert len(OpenAI(**common, max_tokens=4).invoke("Hello")) > 0
    embeddings = OpenAIEmbeddings(base_url=f"{server.base}/v1", api_key="none", model="bert", check_embedding_ctx_length=False)
    assert len(embeddings.embed_documents(["hello", "a cat"])) == 2


# --- lm-eval --------------------------------------------------------------------------------------------------------------

QUESTIONS = [(f"Question {number}: Hello", [" the", " a cat", f" {number}"], number % 3) for number in range(10)]
TASK = """
task: ten_questions
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


@needs("lm_eval")
def test_lm_eval_finds_the_accuracy_of_the_engine(server: LiveServer, chat_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [{"question": text, "choices": choices, "answer": answer} for text, choices, answer in QUESTIONS]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "ten.yaml").write_text(TASK.format(path=rows))
    found = program(
        "lm_eval", "run", "--model", "local-completions", "--tasks", "ten_questions", "--include_path", str(tmp_path),
        "--model_args", f"model=chat,base_url={server.base}/v1/completions,tokenizer_backend=remote,num_concurrent=4",
        "--output_path", str(tmp_path / "out"), "--log_samples",
        HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results_*.json")
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    with Engine(chat_model, None, ContextParams(n_ctx=4096, threads=1, invariant=True)) as engine:
        scores = [[score(engine, text, choice) for choice in choices] for text, choices, _ in QUESTIONS]
    picked = [row.index(max(row)) for row in scores]
    accuracy = sum(pick == answer for pick, (_, _, answer) in zip(picked, QUESTIONS, strict=True)) / len(QUESTIONS)
    assert json.loads(results.read_text())["results"]["ten_questions"]["acc,none"] == pytest.approx(accuracy)
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        told = [float(response[0]) for response in sample["filtered_resps"]]
        assert told == pytest.approx(scores[sample["doc_id"]], abs=1e-3)


def score(engine: Engine, text: str, choice: str) -> float:
    """The log probability of a choice after a text, in this process."""
    before, after = engine.tokenize(text), engine.tokenize(choice)
    params = GenerationParams(max_tokens=0, logprobs=1, score_prompt=True)
    *_, answer = engine.answer(engine.render(Question(tokens=(*before, *after), raw=True)), params)
    assert isinstance(answer, Answer)
    return sum(token.logprob or 0.0 for token in answer.prompt[len(before) :])


# --- granian --------------------------------------------------------------------------------------------------------------


@needs("granian")
def test_granian_runs_the_application(tiny_model: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as bound:
        port = bound.getsockname()[1]
    command = [
        sys.executable, "-P", "-m", "granian", "--interface", "asgi", "--factory", "--port", str(port),
        "llamacli.server:app_from_environment",
    ]  # fmt: skip
    with subprocess.Popen(command, env={**os.environ, "LLAMACLI_MODEL": str(tiny_model)}) as running:
        try:
            end = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as asked:
                    asked.request("GET", "/health")
                    if asked.getresponse().status == 200:
                        break
                assert time.monotonic() < end
                time.sleep(0.05)
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as asked:
                body = {"prompt": "Hello", "max_tokens": 4, "stream": True}
                asked.request("POST", "/v1/completions", json.dumps(body))
                assert asked.getresponse().read().endswith(b"data: [DONE]\n\n")
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(30)


# --- schemathesis ---------------------------------------------------------------------------------------------------------


@needs("schemathesis")
@pytest.mark.skipif(not os.environ.get("LLAMACLI_TEST_SLOW"), reason="set LLAMACLI_TEST_SLOW: it takes minutes")
def test_schemathesis_finds_no_fault_of_the_server(server: LiveServer, tmp_path: Path) -> None:
    found = subprocess.run(
        [
            sys.executable, "-P", "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run",
            f"{server.base}/openapi.json", "--checks", "not_a_server_error", "--max-examples", "30", "--workers", "2",
            "--phases", "examples,coverage,fuzzing", "--seed", "1", "--request-timeout", "60",
        ],
        capture_output=True, text=True, timeout=SCHEMATHESIS_SECONDS, cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, re.sub(r"\x1b\[[\d;]*m", "", found.stdout[-5000:])
