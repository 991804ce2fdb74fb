"""Programs that use the Python API have types: those of the README and the guides, and one with every form of a call."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from examples import DOCUMENTS, ROOT

TYPED = """
from collections.abc import Iterator

from llamacli import AsyncLlama, Llama, LlamaGrammar, llama_cpp
from llamacli.openai.types import CreateChatCompletionResponse, CreateCompletionResponse, CreateCompletionStreamResponse

llm = Llama("model.gguf", n_ctx=512, chat_format="llama-2")
text: str = llm("Hello", max_tokens=4)["choices"][0]["text"]
chunks: Iterator[CreateCompletionStreamResponse] = llm.create_completion("Hello", stream=True)
answer: CreateChatCompletionResponse = llm.create_chat_completion([{"role": "user", "content": "hi"}], temperature=0.5)
content: str | None = answer["choices"][0]["message"]["content"]
for part in llm.create_chat_completion([{"role": "user", "content": "hi"}], stream=True):
    print(part["choices"][0]["delta"].get("content") or "", end="")
count: int = llama_cpp.llama_n_vocab(llm.model)
grammar = LlamaGrammar.from_string('root ::= "a"')
vectors, used = llm.embed("text", return_count=True)
state = llm.save_state()
llm.load_state(state)


async def later() -> None:
    async with AsyncLlama(llama=llm) as other:
        whole: CreateCompletionResponse = await other.create_completion("Hello")
        print(whole["choices"][0]["text"])
        async for part in await other.create_completion("Hello", stream=True):
            print(part["choices"][0]["text"])
        print(await other.embed("text", return_count=True))
"""

WRONG = """
wrong: int = llm("Hello")["choices"][0]["text"]
llm("Hello", temprature=1)
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with all examples, a typed program, and `wrong.py`, whose last two lines are wrong."""
    blocks = [block for document in DOCUMENTS for block in document.blocks("python")]
    for number, block in enumerate([*blocks, TYPED]):
        (tmp_path / f"program{number}.py").write_text(block)
    (tmp_path / "wrong.py").write_text(TYPED + WRONG)
    return tmp_path


def only_wrong(found: list[tuple[str, int]]) -> bool:
    """Return whether errors are on the two wrong lines and nowhere else."""
    lines = (TYPED + WRONG).count("\n")
    return set(found) == {("wrong.py", lines - 1), ("wrong.py", lines)}


def test_mypy_strict(programs: Path) -> None:
    options = ["--strict", "--no-incremental", "--config-file="]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *sorted(path.name for path in programs.iterdir())],
        cwd=programs,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line.split(":") for line in done.stdout.splitlines() if "error:" in line]
    assert only_wrong([(name, int(line)) for name, line, *_ in errors]), done.stdout


def test_pyright_strict(programs: Path) -> None:
    """basedpyright is pyright in a wheel, which fetches nothing."""
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (programs / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson"], cwd=programs, capture_output=True, text=True, check=False
    )
    errors = json.loads(done.stdout)["generalDiagnostics"]
    found = [(Path(error["file"]).name, error["range"]["start"]["line"] + 1) for error in errors]
    assert only_wrong(found), "\n".join(f"{error['file']}: {error['message']}" for error in errors)
