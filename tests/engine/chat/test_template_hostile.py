"""Templates that come out of a file that somebody else wrote: they may fail, but neither crash, hang nor eat all memory."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.template import ChatTemplate
from llamacli.errors import TemplateError

TEMPLATES = Path(__file__).parents[3] / "vendor" / "llama.cpp" / "models" / "templates"

NAMESPACE = "{% set ns = namespace(x=['a']) %}"
BIG = "{% set s = (('a' * 100000) | replace('-', '')) * 100 %}"  # ten million letters in few parts
COMMAS = "{% set s = ('a,' * 190000) | replace('-', '') %}"

REFUSED = {
    "range": ("{% for i in range(1000000000) %}x{% endfor %}", "200000 elements"),
    "range, renamed": ("{% set r = range %}{{ r(0, 9223372036854775807, 4611686018427387904) }}", "too large a number"),
    "range, called as a block": ("{% call range(1000000000) %}x{% endcall %}", "200000 elements"),
    "a text repeated": ("{{ 'abc' * 1000000000 }}{{ 1000000000 * 'abc' }}", "16 MiB"),
    "a text doubled": (
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "16 MiB",
    ),
    "a text doubled by a macro": (
        "{% macro f(n, s) %}{% if n > 0 %}{{ f(n - 1, s ~ s) }}{% endif %}{% endmacro %}{{ f(60, 'abc') }}",
        "16 MiB",
    ),
    "a text replaced by itself": (
        "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(9) %}{% set ns.x = ns.x | replace('a', ns.x) %}{% endfor %}",
        "16 MiB",
    ),
    "a text replaced in a block": (BIG + "{% filter replace('a', s) %}aaa{% endfilter %}", "16 MiB"),
    "a text in many places": (BIG + "{{ ('{}' * 9).format(" + ",".join(["s"] * 9) + ") }}", "16 MiB"),
    "a text in many pieces": (COMMAS + "{{ (s * 20).split(',') }}", "200000 elements"),
    "a text cut up slowly": (BIG + "{% set b = s %}" + COMMAS + "{{ (s ~ b).split(',') }}", "too many pieces"),
    "a text replaced slowly": (COMMAS + "{{ (s * 10) | replace('a', 'bb') }}", "too many pieces"),
    "a long delimiter": (BIG + "{{ range(1000) | join(s) }}", "16 MiB"),
    "deep JSON": ("{{ [1, 2, 3] | tojson(indent=1000000000) }}", "indents JSON by too much"),
    "deep lines": ("{{ 'a\\nb' | indent(1000000000) }}", "indents by too much"),
    "macro that calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurses without end"),
    "object in itself": ("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns | tojson }}", "into itself"),
    "list in itself": ("{% set a = [] %}{% set _ = a.append(a) %}{{ a }}", "into itself"),
    "lists in each other": ("{% set a = [] %}{% set b = [a] %}{% set _ = a.append(b) %}{{ a == b }}", "into itself"),
    "deep list": (NAMESPACE + "{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}", "too deep"),
    "deep list, appended": (
        NAMESPACE + "{% for i in range(9999) %}{% set y = [] %}{% set _ = y.append(ns.x) %}{% set ns.x = y %}{% endfor %}",
        "too deep",
    ),
    "shared lists": (NAMESPACE + "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}", "2 million elements"),
    "shared objects": (
        NAMESPACE + "{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x == ns.x }}",
        "2 million elements",
    ),
    "a list doubled": (NAMESPACE + "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "200000 elements"),
    "one text many times, written out": (BIG + "{{ [s, s, s, s] }}", "16 MiB"),
    "one text many times, as JSON": (BIG + "{{ [s, s, s, s] | tojson }}", "16 MiB"),
    "one text many times, compared": (BIG + "{{ s in [s, s, s, s] }}", "16 MiB"),
    "one text many times, selected": (BIG + "{{ [s, s, s, s] | select('equalto', s) | list | length }}", "16 MiB"),
    "output without end": (BIG + "{% for i in range(100000) %}{{ s }}{% endfor %}", "without end"),
    "division by zero": ("{{ 3 is divisibleby(0) }}", "divisibility by 0"),
    "division by zero, selected": ("{{ [{'a': 1}] | selectattr('a', 'divisibleby', 0) | list }}", "divisibility by 0"),
    "sorting what does not compare": ("{% set n = 0 / 0 %}{{ [n, 1.0, n, 2.0] | sort }}", "not a number"),
    "parentheses": ("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}", "nested too deep"),
    "brackets": ("{{ " + "[" * 100_000 + "]" * 100_000 + " }}", "nested too deep"),
    "negations": ("{{ " + "not " * 100_000 + "1 }}", "nested too deep"),
    "signs": ("{{ " + "- " * 100_000 + "1 }}", "nested too deep"),
    "choices": ("{{ " + "1 if 0 else " * 50_000 + "1 }}", "nested too deep"),
    "sums": ("{{ " + "1 + " * 100_000 + "1 }}", "nested too deep"),
    "filters": ("{{ 1" + "|abs" * 100_000 + " }}", "nested too deep"),
    "members": ("{{ a" + ".b" * 100_000 + " }}", "nested too deep"),
    "calls": ("{{ a" + "()" * 100_000 + " }}", "nested too deep"),
    "conditions": ("{% if 1 %}" * 50_000 + "{% endif %}" * 50_000, "nested too deep"),
    "alternatives": ("{% if 0 %}" + "{% elif 0 %}" * 50_000 + "{% endif %}", "nested too deep"),
    "loops": ("{% for i in [1] %}" * 50_000 + "{% endfor %}" * 50_000, "nested too deep"),
    "assigned blocks": ("{% set a %}" * 50_000 + "{% endset %}" * 50_000, "nested too deep"),
    "length": ("{{ 1 }}" + "x" * (5 << 20), "longer than 4 MiB"),
}

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


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_would_crash_or_hang(name: str) -> None:
    source, reason = REFUSED[name]
    begin = time.monotonic()
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert time.monotonic() - begin < 15


def test_stops_what_runs_for_too_long() -> None:
    source = "{% macro f(n) %}{% if n > 1 %}{{ f(n - 1) }}{{ f(n - 2) }}{% endif %}{% endmacro %}{{ f(60) }}"
    begin = time.monotonic()
    with pytest.raises(TemplateError, match=r"more than 0\.5 seconds"):
        render(source, seconds=0.5)
    assert time.monotonic() - begin < 10


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
