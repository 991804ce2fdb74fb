"""`run --url` with servers that behave oddly: every way out is one clear line and the right status."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import Result, invoke
from odd_server import Asked, Script, answered, chunk, chunked, odd_server, refused, response

from llamacli.backend.remote import retry

DONE = b"data: [DONE]\n\n"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(retry, "_MOST_SECONDS", 0.02)


def ask(script: Script, *arguments: str, **more: object) -> Result:
    with odd_server(script) as address:
        return invoke("run", "--url", address, *arguments, **more)  # type: ignore[arg-type]


def test_a_plain_server_answers_with_comments_in_its_stream() -> None:
    script = Script(
        [chunked(b": ping\n\n: ping\n", chunk("Hel"), chunk("lo")[:9], chunk("lo")[9:], chunk(reason="stop"), DONE)]
    )
    done = ask(script, "Hi")
    assert (done.status, done.stdout, done.stderr) == (0, "Hello\n", "")
    (post,) = script.posts
    assert post.path == "/v1/chat/completions"
    assert post.document["messages"] == [{"role": "user", "content": "Hi"}]
    assert "temperature" not in post.document
    assert "authorization" not in post.headers


def test_a_server_without_a_list_of_models_needs_a_name() -> None:
    script = Script([answered("Hi")], models=None)
    assert ask(script, "Hi").status == 3
    done = ask(script, "-m", "big", "Hi")
    assert (done.status, done.stdout) == (0, "Hi\n")
    assert script.posts[0].document["model"] == "big"


def test_one_of_several_models_has_to_be_named() -> None:
    script = Script([answered("Hi")], models={"data": [{"id": "a", "owned_by": "x"}, {"id": "b"}, 7, {"id": None}]})
    done = ask(script, "Hi")
    assert done.status == 2
    assert "a, b" in done.stderr
    assert ask(script, "-m", "b", "Hi").status == 0
    assert script.posts[0].document["model"] == "b"


@pytest.mark.parametrize("models", [[], {}, {"data": 7}, {"data": [[]]}, "x"])
def test_any_list_of_models_will_do(models: object) -> None:
    assert ask(Script([answered("Hi")], models=models), "-m", "m", "Hi").status == 0


def test_busy_is_tried_again_after_the_pause_that_is_asked_for() -> None:
    script = Script([refused(429, Retry_After="0.2"), refused(503), answered("Hi")])
    started = time.monotonic()
    done = ask(script, "Hi")
    assert (done.status, done.stdout, len(script.posts)) == (0, "Hi\n", 3)
    assert time.monotonic() - started >= 0.2


def test_busy_for_ever_ends_in_status_7() -> None:
    script = Script([refused(500, "all\nis lost")])
    done = ask(script, "Hi")
    assert (done.status, len(script.posts)) == (7, 3)
    assert "failed: all is lost" in done.stderr


def test_what_is_refused_is_not_tried_again() -> None:
    script = Script([refused(400, "the prompt is rude")])
    done = ask(script, "Hi")
    assert (done.status, len(script.posts)) == (2, 1)
    assert "the prompt is rude" in done.stderr


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (chunked(chunk("Half an"), ends=False), "Half an\n"),
        (chunked(chunk("Half an")), "Half an\n"),
        (chunked(chunk("Half an"), DONE), "Half an\n"),
        (chunked(chunk("Half an"), b'data: {"error": {"message": "out of memory"}}\n\n'), "Half an\n"),
        (chunked(chunk("Half an"), b"data: {broken\n\n"), "Half an\n"),
        (chunked(), ""),
        (chunked(DONE), ""),
        (response("<html>", kind="text/html"), ""),
    ],
)
def test_a_broken_stream_keeps_what_was_printed(reply: bytes, kept: str) -> None:
    script = Script([reply])
    done = ask(script, "Hi")
    assert (done.status, done.stdout) == (7, kept)
    assert done.stderr.count("\n") == 1
    assert len(script.posts) == 1


def test_an_answer_in_one_document_is_taken() -> None:
    message = {"role": "assistant", "content": "Hi", "reasoning": "Hm."}
    document = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    done = ask(Script([response(json.dumps(document))]), "Hi")
    assert (done.status, done.stdout) == (0, "Hi\n")
    assert "Hm." in done.stderr


@pytest.mark.parametrize(
    "document",
    [{"choices": 7}, {"choices": [7, {"index": "x", "delta": 1}, {"delta": {"content": 5, "tool_calls": [1, {"index": -1}]}}]},
     {"usage": 7, "timings": []}, [1]],
)  # fmt: skip
def test_odd_chunks_are_passed_over(document: object) -> None:
    odd = f"data: {json.dumps(document)}\n\n".encode()
    assert ask(Script([chunked(odd, chunk("Hi"), odd, chunk(reason="stop"))]), "--json", "Hi").status == 0


def test_a_redirect_to_another_host_is_not_followed_with_the_key() -> None:
    other = Script([answered("stolen")])
    with odd_server(other) as elsewhere:
        script = Script([response("", status=307, Location=f"{elsewhere}/v1/chat/completions")])
        done = ask(script, "Hi", environ={"LLAMACLI_API_KEY": "sk-geheim"})
    assert done.status == 7
    assert elsewhere in done.stderr
    assert other.asked == []
    assert script.posts[0].headers["authorization"] == "Bearer sk-geheim"


def test_a_redirect_on_the_same_server_is_followed() -> None:
    script = Script([response("", status=308, Location="/v1/there"), answered("Hi")])
    assert ask(script, "Hi").stdout == "Hi\n"
    assert script.posts[1].path == "/v1/there"
    assert ask(Script([response("", status=307, Location="/v1/there")]), "Hi").status == 7


def test_a_server_that_repeats_the_key_does_not_show_it() -> None:
    script = Script([refused(401, "Incorrect API key provided: sk-geheim.")])
    done = ask(script, "--debug", "-vv", "Hi", environ={"LLAMACLI_API_KEY": "sk-geheim"})
    assert done.status == 2
    assert "sk-geheim" not in done.stderr
    assert "Incorrect API key provided: ***" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("--top-k", "5"), "--top-k"), (("--choices", "Hi,Ho"), "grammar"), (("-l", "a=1"), "-l"),
     (("--reasoning", "off"), "--reasoning"), (("--logprobs", "2", "--json"), "--logprobs"),
     (("--reasoning-budget", "9"), "--reasoning-budget")],
)  # fmt: skip
def test_what_a_server_cannot_do_is_said_first(arguments: tuple[str, ...], named: str) -> None:
    script = Script([answered("Hi")])
    done = ask(script, *arguments, "Hello")
    assert done.status == 0, done.stderr
    assert done.stderr.startswith("llamacli: warning: the server cannot use")
    assert named in done.stderr
    strict = ask(script, "--strict", *arguments, "Hello")
    assert (strict.status, strict.stdout) == (2, "")
    assert named in strict.stderr


def test_a_refused_field_is_left_out_with_a_warning() -> None:
    script = Script([refused(400, "Unsupported parameter: 'seed'", param="seed"), answered("Hi")])
    done = ask(script, "-s", "1", "Hi")
    assert (done.status, done.stdout) == (0, "Hi\n")
    assert "cannot use -s" in done.stderr
    assert ["seed" in post.document for post in script.posts] == [True, False]


def test_a_limit_has_another_name_for_some() -> None:
    script = Script(
        [refused(400, "use max_completion_tokens", param="max_tokens", code="unsupported_parameter"), answered("Hi")]
    )
    done = ask(script, "-n", "5", "Hi")
    assert (done.status, done.stderr) == (0, "")
    assert script.posts[1].document["max_completion_tokens"] == 5


@pytest.mark.parametrize(
    ("arguments", "answer", "status"),
    [
        (("-j", '{"type": "integer"}'), "12", 0),
        (("-j", '{"type": "integer"}'), '"twelve"', 5),
        (("-j", '{"type": "integer"}'), "Sure! 12", 5),
        (("--regex", "[ab]+"), "abba", 0),
        (("--regex", "[ab]+"), "abbc", 5),
        (("--choices", "yes,no"), "maybe", 5),
    ],
)
def test_a_constraint_is_checked_here(arguments: tuple[str, ...], answer: str, status: int) -> None:
    script = Script([answered(answer)])
    assert ask(script, *arguments, "Hi").status == status
    assert ("response_format" in script.posts[0].document) == (arguments[0] == "-j")


def test_samples_of_a_server_that_makes_one_at_a_time() -> None:
    script = Script([answered("One"), answered("Two"), answered("Three")])
    done = ask(script, "--samples", "3", "-s", "5", "--json", "Hi")
    assert done.status == 0, done.stderr
    assert [choice["message"]["content"] for choice in json.loads(done.stdout)["choices"]] == ["One", "Two", "Three"]
    assert [post.document.get("n") for post in script.posts] == [3, None, None]
    assert [post.document["seed"] for post in script.posts] == [5, 6, 7]


def test_tool_calls_without_an_index_are_taken() -> None:
    call = {"id": "x", "function": {"name": "now", "arguments": "{}"}}
    event = f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'tool_calls': [call]}}]})}\n\n".encode()
    done = ask(Script([chunked(event, chunk(reason="tool_calls"))]), "--json", "Hi")
    (choice,) = json.loads(done.stdout)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "now"


def test_nobody_there_is_status_7() -> None:
    with odd_server(Script()) as address:
        pass
    done = invoke("run", "--url", address, "Hi")
    assert done.status == 7
    assert f"cannot reach {address}" in done.stderr


def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    script = Script([answered("Hi")])
    with odd_server(script, tmp_path / "s") as address:
        assert invoke("run", "--url", address, "Hi").stdout == "Hi\n"
    assert script.posts[0].headers["host"] == "localhost"


def test_a_proxy_gets_the_whole_address(tmp_path: Path) -> None:
    script = Script([answered("Hi")])
    with odd_server(script) as proxy:
        environ = {"http_proxy": proxy.replace("http://", "http://me:pass@")}
        done = invoke("run", "--url", "http://model.example:8080", "Hi", environ=environ)
    assert (done.status, done.stdout) == (0, "Hi\n")
    assert script.posts[0].path == "http://model.example:8080/v1/chat/completions"
    assert script.posts[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_setting_of_a_model_names_its_server_and_key(isolated_home: Path) -> None:
    script = Script([answered("Hi")])
    settings = isolated_home / ".config" / "llamacli" / "config.toml"
    settings.parent.mkdir(parents=True)
    with odd_server(script) as address:
        settings.write_text(f'[models.big]\nurl = "{address}"\nkey = "env:BIG_KEY"\n')
        done = invoke("run", "-m", "big", "Hi", environ={"BIG_KEY": "sk-big"})
    assert (done.status, done.stdout) == (0, "Hi\n"), done.stderr
    assert script.posts[0].headers["authorization"] == "Bearer sk-big"


def test_a_key_on_the_command_line_is_refused_unseen() -> None:
    done = invoke("run", "--url", "http://127.0.0.1:1", "--key", "sk-geheim", "Hi")
    assert done.status == 2
    assert "env:" in done.stderr


def test_no_process_is_forked_for_a_server() -> None:
    script = Script([answered("Hi")])
    code = (
        "import sys, llamacli.cli as cli\n"
        "import llamacli.backend.child.process.start as start\n"
        "cli._prepare_engine(sys.argv[1:])\n"
        "print(start._prepared)\n"
    )
    with odd_server(script) as address:
        for words in (["run", "--url", address], ["run", f"--url={address}"]):
            done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True, check=True)
            assert done.stdout == "{}\n"


def test_rows_slow_down_for_a_busy_server_and_all_are_answered(tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(f"row {number}" for number in range(40)))
    count = iter(range(10_000))

    def answer(asked: Asked) -> bytes:
        if next(count) % 3 == 1:
            return refused(429, Retry_After_Ms="5")
        return answered(asked.document["messages"][0]["content"].upper())

    done = ask(Script([answer]), "--input", str(rows))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.status == 0, done.stderr
    assert [row["text"] for row in results] == [f"ROW {number}" for number in range(40)]


def test_rows_with_strict_end_at_once(tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("a\nb\nc")
    done = ask(Script([answered("Hi")]), "--strict", "--top-k", "3", "--input", str(rows))
    assert done.status == 2
    assert "cannot use --top-k" in done.stderr


def test_a_signal_ends_an_answer_and_its_text_stays() -> None:
    def slow(asked: Asked) -> bytes:
        return chunked(chunk("Half an"), ends=False).replace(b"Transfer-Encoding", b"transfer-encoding")  # stays open

    with odd_server(Script([slow])) as address:
        words = [sys.executable, "-P", "-m", "llamacli", "run", "--url", address, "Hi"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.read(7) == "Half an"
            started = time.monotonic()
            program.send_signal(signal.SIGINT)
            rest, errors = program.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert (program.returncode, rest) == (130, "\n"), errors


def test_what_a_server_refuses_is_remembered_by_the_next_command(isolated_home: Path) -> None:
    script = Script(
        [refused(400, "Unsupported parameter: 'seed'", param="seed", code="unsupported_parameter"), answered("Hi.")]
    )
    with odd_server(script) as address:
        for _ in range(2):
            done = invoke("run", "--url", address, "-s", "7", "hello")
            assert (done.status, done.stdout) == (0, "Hi.\n")
            assert "-s" in done.stderr
        strict = invoke("run", "--url", address, "-s", "7", "--strict", "hello")
    assert strict.status == 2
    assert ["seed" in one.document for one in script.posts] == [True, False, False]
