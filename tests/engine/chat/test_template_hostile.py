"""Templates that come out of a file that somebody else wrote: they may fail, but neither crash, hang nor eat all memory."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.template import ChatTemplate
from llamacli.errors import TemplateError

TEMPLATES = Path(__file__).parents[3] / "vendor" / "llama.cpp" / "models" / "templates"

NAMESPACE = "{% set ns = namespace(x=['a']) %}"
BIG = "{% set s = (('a' * 100000) | replace('-', '')) * 100 %}"  # ten million letters in few parts
COMMAS = "{% set s = ('a,' * 190000) | replace('-', '') %}"

SECONDS = 0.5

STOPPED = {
    "loop": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "range": "{% for i in range(1000000000) %}x{% endfor %}",
    "text repeated": "{{ 'abc' * 1000000000 }}",
    "text doubled": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "text replaced in a block": BIG + "{% filter replace('a', s) %}aaa{% endfilter %}",
    "text cut up slowly": BIG + "{% set b = s %}" + COMMAS + "{{ (s ~ b).split(',') }}",
    "deep lines": "{{ 'a\\nb' | indent(1000000000) }}",
    "macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macros that double": ("{% macro f(n) %}{% if n > 1 %}{{ f(n - 1) }}{{ f(n - 2) }}{% endif %}{% endmacro %}{{ f(60) }}"),
    "object in itself": "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns | tojson }}",
    "deep list": NAMESPACE + "{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "list doubled": NAMESPACE + "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "output without end": BIG + "{% for i in range(100000) %}{{ s }}{% endfor %}",
    "division by zero": "{{ 3 is divisibleby(0) }}",
    "parentheses": "{{ " + "(" * 1_000_000 + "1" + ")" * 1_000_000 + " }}",
    "calls": "{{ a" + "()" * 1_000_000 + " }}",
}
"""Templates that would hang, crash or fill the process."""

FAILING = {
    "unclosed block": ("{% if messages %}x", "the chat template does not parse: it ends within a block"),
    "unexpected token": ("{{ messages[ }}", "the chat template does not parse: Unexpected token: }}"),
    "Go": ("{{ if .System }}{{ .System }}{{ end }}", "the chat template is a Go template, as Ollama uses them, not Jinja"),
    "end of text": ("{{ a", "the chat template does not parse: Expected }}"),
    "large number": ("{{ 99999999999999999999999 }}", "the chat template does not parse: a number is too large"),
    "unknown statement": ("{% foo %}", "the chat template does not parse: Unknown statement: foo"),
    "refusal": (
        "{{ raise_exception('Roles must\\n alternate') }}",
        "the chat template rejects the messages: Roles must alternate",
    ),
    "unknown filter": ("{{ 'x'\n | foo }}", "the chat template fails at line 2, column 2: Unknown (built-in) filter 'foo'"),
    "call of nothing": ("{{ f(a=1)(b=2) }}", "Callee is not a function"),
    "nothing": ("  \n", "the chat template is empty"),
}


def render(source: str, seconds: float = 10.0) -> str:
    with ChatTemplate(source, seconds=seconds) as template:
        return template.render([Message("user", "hi")]).text


@pytest.mark.parametrize("name", STOPPED)
def test_a_copy_of_the_process_ends_in_its_place(name: str) -> None:
    ends = rf"takes more than {SECONDS} s of processor time|takes more than 200 MiB of memory|crashes its interpreter \(.+\)"
    with pytest.raises(TemplateError) as caught:
        render(STOPPED[name], SECONDS)
    assert re.fullmatch(f"the chat template ({ends})", caught.value.message)


def test_what_is_stopped_takes_little_memory_and_leaves_no_process() -> None:
    sources = [STOPPED[name] for name in ("loop", "range", "text repeated", "macro that calls itself")]
    code = (
        "import os, resource\n"
        "from llamacli.engine.chat.template import ChatTemplate\n"
        "from llamacli.errors import TemplateError\n"
        "def highest():  # what an interpreter that was forked from a large process has needed itself\n"
        "    try: text = open('/proc/self/status').read()\n"
        "    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    return int(text.partition('VmHWM:')[2].split()[0])\n"
        "before = highest()\n"
        f"for source in {sources!r}:\n"
        "    try: ChatTemplate(source, seconds=0.5)\n"
        "    except TemplateError as error: assert 'takes more' in str(error), error\n"
        "usages = [highest(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]\n"
        "unit = 1 << 20 if os.uname().sysname == 'Darwin' else 1 << 10\n"
        "print((max(usages) - before) // unit)\n"
        "try: print('left:', os.waitpid(-1, os.WNOHANG))\n"
        "except ChildProcessError: pass\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert 100 < int(done.stdout) < 300


def test_a_copy_that_crashes_prints_nothing_whatever_the_handlers_of_the_process() -> None:
    code = (
        "import faulthandler, os, signal\n"
        "from llamacli.engine.chat.template import ChatTemplate\n"
        "faulthandler.enable()\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"  # nobody can wait for the copy then
        "try: ChatTemplate('{{ 3 is divisibleby(0) }}')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(ChatTemplate('{{ messages[0].content }}').is_builtin)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("TemplateError the chat template crashes its interpreter\nFalse\n", "")


def test_many_threads_render_at_once() -> None:
    def work(number: int) -> str:
        return render(f"{{{{ messages[0].content }}}} {number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [f"hi {number}" for number in range(40)]


@pytest.mark.parametrize("name", FAILING)
def test_says_in_one_line_what_is_wrong(name: str) -> None:
    source, message = FAILING[name]
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_bounds_leave_room_for_real_templates() -> None:
    many = "{% set a = 1 %}" * 3000 + "{% for i in range(3000) %}{% set x = [i, {'k': i}] %}{{ x[0] }},{% endfor %}"
    assert render(many).endswith("2999,")
    assert render("{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{{ n }},{% endmacro %}{{ f(300) }}").endswith("300,")


def test_long_conversations_render() -> None:
    source = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
    messages = [Message("user" if i % 2 == 0 else "assistant", f"message {i} " * 20) for i in range(601)]
    with ChatTemplate(source) as template:
        assert "message 600 " in template.render(messages).text


def mutations(count: int) -> list[str]:
    """Real templates with pieces cut out, doubled or moved: mostly broken, in many ways."""
    chance = random.Random(7)
    sources = [path.read_text() for path in sorted(TEMPLATES.glob("*.jinja"))]
    result = []
    for _ in range(count):
        text = chance.choice(sources)[:6000]
        for _ in range(chance.randint(1, 4)):
            a, b = sorted(chance.randrange(len(text) + 1) for _ in range(2))
            piece = text[a : min(b, a + 40)]
            text = chance.choice([text[:a] + text[a + len(piece) :], text[:a] + piece * 2 + text[a:], piece + text, text[:a]])
        result.append(text)
    return result


def test_broken_templates_raise_template_errors_only() -> None:
    failed = 0
    for source in mutations(150):
        try:
            render(source)
        except TemplateError as error:
            failed += 1
            assert "\n" not in error.message  # noqa: PT017 - most of them fail, some render
    assert failed > 50
