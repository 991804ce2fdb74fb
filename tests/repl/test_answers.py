"""What can be done with an answer: going on, asking again, looking at its probabilities, other tokens, grammars, summaries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from talk import ENTER, Talker, plain, talk

from llamacli.cli.framework.context import open_engine
from llamacli.engine.events import TokenLogprob
from llamacli.errors import DecodeError
from llamacli.repl.commands.compact import INSTRUCTION


def talk_to(model: Path, keys: str, *arguments: str):
    """A conversation with the real engine and a real model."""
    return talk(keys, "-t", "1", *arguments, open_engine=open_engine, find_model=lambda app, reference, *, offline: model)


def exported(path: Path) -> list[dict[str, str]]:
    return json.loads(path.read_text())["messages"]


# --- going on ------------------------------------------------------------------------------------------------------------


def test_a_stopped_answer_goes_on() -> None:
    engine = Talker(answers=[("One ", "two ", "three ", "four."), ("five ", "six.")], interrupt_at=3)
    result = talk("Count\r/continue\rand?\r", engine=engine)
    assert result.status == 0
    assert engine.asked[1] == [("user", "Count")]
    assert engine.asked[2][1] == ("assistant", "One two three five six.")
    assert "[stopped]" in plain(result.stdout)


def test_only_a_cut_answer_goes_on() -> None:
    out = plain(talk("/continue\rHi\r/continue\r/undo\r/continue\r").stdout)
    assert "no answer to continue (/retry answers the last message)" in out
    assert "the last answer is complete (/regen generates another one)" in out
    assert out.count("no answer to continue") == 2


def test_going_on_shows_the_unfinished_block_again() -> None:
    answers = [("First.\n\n", "```\ncode ", "more", "x"), (" end\n", "```\n")]
    out = talk("Hi\r/continue\r", "--plain", engine=Talker(answers=list(answers), interrupt_at=3)).stdout
    assert "```\ncode more end\n```\n\n" in out
    assert out.count("First.") == 1


def test_an_answer_of_an_earlier_program_goes_on() -> None:
    talk("Count\r", engine=Talker(answers=[("One ", "two ", "three ", "four.")], interrupt_at=3))
    engine = Talker(answers=[("five.",)])
    result = talk("/continue\r/prompt\r", "--continue", engine=engine)
    assert len(engine.started) == 3
    assert "<assistant>One two three five." in plain(result.stdout)


def test_stopped_again_before_anything_came_it_stays_as_it_was() -> None:
    class Stubborn(Talker):
        def generate(self, prompt, params, **more):
            if more.get("started"):
                self.interrupt_at = 0
            return super().generate(prompt, params, **more)

    engine = Stubborn(answers=[("One ", "two ", "three ", "four."), ("no",)], interrupt_at=3)
    result = talk("Count\r/continue\r/prompt\r/branches\r", engine=engine)
    assert "<assistant>One two" in plain(result.stdout)
    assert "* 1  2 messages" in plain(result.stdout)


def test_a_message_without_an_answer_is_sent_again() -> None:
    engine = Talker(refuses=[DecodeError("llama.cpp could not evaluate a batch")])
    result = talk("Hi\r\x15/retry\r/retry\r", engine=engine)
    assert result.status == 0
    assert engine.asked == [[("user", "Hi")]] * 3
    assert "* 2  2 messages" in plain(talk("Hi\r/retry\r/branches\r").stdout)


def test_another_answer_has_another_seed() -> None:
    engine = Talker()
    talk("Hi\r/regen\rmore\r", "-s", "7", engine=engine)
    assert [params.sampling.seed for params in engine.seen_params] == [7, 8, 7]


# --- the real engine -----------------------------------------------------------------------------------------------------


def test_nothing_is_evaluated_twice_when_an_answer_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    keys = f"Hello\r/continue\r/stats\r/export {tmp_path}/a.json\r"
    result = talk_to(tiny_model, keys, "--temp", "0", "-n", "12", "--ignore-eos")
    stats = re.search(r"prompt (\d+) tokens \((\d+) cached\)", plain(result.stdout))
    assert stats is not None
    assert int(stats[1]) - int(stats[2]) == 1
    whole = talk_to(tiny_model, f"Hello\r/export {tmp_path}/b.json\r", "--temp", "0", "-n", "24", "--ignore-eos", "--no-save")
    assert whole.status == 0
    assert exported(tmp_path / "a.json") == exported(tmp_path / "b.json")


def test_a_context_that_may_grow_grows_in_the_middle_of_an_answer(tiny_model: Path, tmp_path: Path) -> None:
    """Without -c the context is a part of what the model was trained with: that is no end."""
    from llamacli.engine.generation import contexts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "DEFAULT_CONTEXT", 256)
        arguments = ("--temp", "0", "--ignore-eos")
        result = talk_to(tiny_model, f"Hello\r/export {tmp_path}/a.json\r/context\r", *arguments)
    assert "[the context is full]" in plain(result.stdout)
    talk_to(tiny_model, f"Hello\r/export {tmp_path}/b.json\r", "-c", "512", *arguments)
    assert exported(tmp_path / "a.json") == exported(tmp_path / "b.json")


def test_a_full_context_ends_the_answer(tiny_model: Path) -> None:
    result = talk_to(tiny_model, "Hello\r/continue\r", "--temp", "0", "--ignore-eos", "-c", "256")
    out = plain(result.stdout)
    assert "[the context is full]" in out
    assert re.search("the conversation has 25[67] tokens, the context 256", out)
    assert "/compact summarizes old turns" in " ".join(out.split())


def test_with_a_context_shift_old_turns_go_and_the_answer_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    keys = f"{'first ' * 8}\r{'second ' * 8}\r/set n 150\r{'third ' * 8}\r/export {tmp_path}/a.json\r"
    result = talk_to(tiny_model, keys, "--temp", "0", "--ignore-eos", "-c", "320", "--context-shift", "-n", "30")
    out = plain(result.stdout)
    assert re.search(r"no longer sees the oldest [24] messages", out)
    assert "beginning of this answer" not in out
    assert "[the context is full]" not in out
    assert out.count("[cut at the token limit]") == 3
    assert len(exported(tmp_path / "a.json")) == 6


def test_with_a_context_shift_an_answer_may_be_longer_than_the_context(tiny_model: Path) -> None:
    result = talk_to(tiny_model, "Hello\r", "--temp", "0", "--ignore-eos", "-c", "256", "--context-shift", "-n", "700")
    out = plain(result.stdout)
    assert out.count("no longer sees the beginning of this answer") == 1
    assert "[cut at the token limit]" in out


# --- probabilities -------------------------------------------------------------------------------------------------------


def test_probabilities_and_other_tokens_with_a_real_model(tiny_model: Path, tmp_path: Path) -> None:
    keys = f"Hello\r/probs\r/probs 3\r/pick 3 2\r/branches\r/probs 3\r/export {tmp_path}/a.json\r/branch 1\r/probs 1\r"
    result = talk_to(tiny_model, keys, "--temp", "0", "--ignore-eos", "-n", "8", "--color", "never")
    out = result.stdout
    assert result.status == 0
    assert re.search(r"^1:\S+ +2:\S+ +3:\S+", out, re.MULTILINE)
    assert out.count("token 3 after") == 2
    first, second = re.findall(r"token 3 after.*\n((?:.*%\n)+)", out)
    assert first.startswith("*  1  ")
    assert second.splitlines()[1].startswith("*  2  ")
    assert "* 2  2 messages" in out
    assert "token 1\n" in out


def test_only_the_colours_that_are_shown_are_explained() -> None:
    hint = "/probs N lists alternatives · /pick N ALT uses one"
    for logprob, flag, legend in (
        (-0.01, "always", hint),
        (-0.3, "always", f"green <90% · {hint}"),
        (-1.0, "always", f"yellow <50% · {hint}"),
        (-3.0, "always", f"red <20% · {hint}"),
        (-3.0, "never", hint),
        (None, "always", hint),
    ):
        out = plain(talk("Hi\r/probs\r", "--color", flag, engine=Talker(logprob=logprob), width=120).stdout)
        assert out.splitlines()[-2] == legend  # before the line that ends a conversation


def test_probabilities_of_an_answer_that_is_not_known() -> None:
    assert "no answer yet" in talk("/probs\r").stdout
    talk("Hi\r")
    out = plain(talk("/probs\r/pick 1 2\r", "--continue").stdout)
    assert out.count("the tokens of this answer are unknown") == 2


def test_places_and_alternatives_that_there_are_not() -> None:
    top = (TokenLogprob(7, b" the", -0.1), TokenLogprob(8, b" a", -2.0), TokenLogprob(2, b"", -4.0))
    engine = Talker(answers=[("one ", "two")], logprob=-0.3, top=top)
    out = plain(talk("Hi\r/probs 3\r/probs x\r/pick 1\r/pick 1 9\r/pick 2 3\r/pick 1 a\r", engine=engine).stdout)
    assert out.count("expected a token number from 1 to 2") == 2
    assert "/pick needs the number of a token and an alternative" in out
    assert "9 is not one of the 3 alternatives" in out
    assert "this alternative ends the answer" in out
    assert engine.started == (8,)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_probabilities_fit_the_screen(width: int) -> None:
    pieces = ("The ", "\x1b[31m", "天気", "\n", "x" * 300, "end")
    out = talk("Hi\r/probs\r", "--color", "never", engine=Talker(answers=[pieces], logprob=-1.0), width=width).stdout
    shown = out.partition("1:37%")[2]
    assert "\x1b[31m" not in shown
    rows = [row for row in out.splitlines() if re.search(r"\d:37%", row)]
    assert all(len(row) < max(width, 30) for row in rows)
    numbers = [int(number) for row in rows for number in re.findall(r"(\d+):37%", row)]
    assert numbers == list(range(1, 7))


# --- grammars ------------------------------------------------------------------------------------------------------------


def test_answers_are_constrained_by_a_grammar_until_it_is_off() -> None:
    engine = Talker()
    keys = '/grammar root ::= "yes" | "no"\rHi\r/grammar\r/schema\r/grammar off\rHi\r/grammar\r'
    out = plain(talk(keys, engine=engine).stdout)
    assert 'root ::= "yes" | "no"\n' in out
    assert "answers are constrained by a grammar" in out
    assert out.count("answers are not constrained") == 2
    assert engine.constraint is None
    engine = Talker()
    talk("/grammar json\rHi\r", engine=engine)
    assert engine.constraint is not None
    assert "object" in engine.constraint.grammar


def test_a_bad_grammar_is_shown_with_its_place_and_nothing_is_lost() -> None:
    engine = Talker()
    keys = '/grammar root ::= "a"\r/grammar root ::= [a-\r\x15/grammar\rHi\r'
    result = talk(keys, engine=engine)
    assert "/grammar:1:1" in plain(result.stdout)
    assert "--grammar" not in plain(result.stdout)
    assert "^" in result.stderr
    assert 'root ::= "a"\n' in plain(result.stdout)
    assert engine.constraint is not None
    assert "no such file or built-in grammar: nobody" in plain(talk("/grammar nobody\r").stdout)
    assert "give a file name" in plain(talk("/schema -\r").stdout)


def test_answers_are_constrained_by_a_schema_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text('{"type": "object", "required": ["a"]}')
    engine = Talker(answers=[('{"b": 1}',), ('{"a": 1}',)])
    out = plain(talk(f"/schema {file}\rHi\rHi\r/schema\r/grammar off\r/schema off\r", engine=engine).stdout)
    assert out.count("the answer does not fit the schema") == 1
    assert f"{file}\n" in out
    assert "/schema off removes it" in out
    engine = Talker(answers=[('{"a": 1}',)])
    talk('/schema {"type": "object"}\rHi\r', engine=engine)
    assert engine.constraint is not None
    assert "/schema:1:9: invalid JSON" in plain(talk('/schema {"type": \r').stdout)


def test_a_held_answer_with_the_real_engine_goes_on_within_its_grammar(tiny_model: Path, tmp_path: Path) -> None:
    keys = f'/grammar root ::= [ab]{{20}} "!"\rHello\r/continue\r/continue\r/export {tmp_path}/a.json\r'
    talk_to(tiny_model, keys, "--temp", "0", "-n", "9")
    assert re.fullmatch("[ab]{20}!", exported(tmp_path / "a.json")[-1]["content"])


# --- summaries -----------------------------------------------------------------------------------------------------------


def test_older_turns_become_a_summary() -> None:
    engine = Talker(answers=[("A1",), ("A2",), ("They ", "talked."), ("A3",)])
    result = talk("a\rb\r/compact\rc\r", "-sys", "S", engine=engine)
    assert engine.asked[2] == [("system", "S"), ("user", "a"), ("assistant", "A1"), ("user", INSTRUCTION)]
    assert engine.asked[3] == [
        ("system", "S"), ("user", INSTRUCTION), ("assistant", "They talked."), ("user", "b"), ("assistant", "A2"),
        ("user", "c"),
    ]  # fmt: skip
    out = plain(result.stdout)
    assert "They talked." in out
    assert "replaced 2 messages with this summary" in out


def test_a_summary_is_taken_back() -> None:
    engine = Talker(answers=[("A1",), ("A2",), ("They talked.",), ("A3",)])
    result = talk("a\rb\r/compact\r/undo\rc\r/branches\r", engine=engine)
    assert engine.asked[3][:4] == [("user", "a"), ("assistant", "A1"), ("user", "b"), ("assistant", "A2")]
    assert "reverted the summary" in plain(result.stdout)
    assert "They talked." not in str(engine.asked[3])
    again = plain(talk("/branches\r", "--continue").stdout)
    assert len(re.findall(r"^[* ] \d+ +\d+ messages", again, re.MULTILINE)) == 2


def test_a_single_turn_can_be_summarized_and_nothing_cannot() -> None:
    engine = Talker(answers=[("A1",), ("Short.",), ("A2",)])
    talk("a\r/compact\rb\r", engine=engine)
    assert engine.asked[2] == [("user", INSTRUCTION), ("assistant", "Short."), ("user", "b")]
    assert "the conversation is empty" in plain(talk("/compact\r").stdout)


def test_a_summary_that_was_stopped_changes_nothing() -> None:
    class Interrupted(Talker):
        def generate(self, prompt, params, **more):
            self.interrupt_at = 1 if len(self.asked) == 2 else None
            return super().generate(prompt, params, **more)

    engine = Interrupted(answers=[("A1",), ("A2",), ("They ", "talked."), ("A3",)])
    talk("a\rb\r/compact\rc\r", engine=engine)
    assert [text for _, text in engine.asked[3]] == ["a", "A1", "b", "A2", "c"]


def test_a_full_conversation_is_compacted_in_steps() -> None:
    words = len(INSTRUCTION.split())
    engine = Talker(n_ctx=100 + words, answers=[("A1 " * 10,), ("A2 " * 40,), ("S1",), ("A3",)])
    result = talk(f"{'a ' * 30}\r{'b ' * 15}\r/compact\rc\r", engine=engine)
    assert result.status == 0
    assert [role for role, _ in engine.asked[2]] == ["user", "assistant", "user"]
    engine = Talker(n_ctx=30)
    out = plain(talk(f"{'a ' * 20}\r/compact\r{ENTER}", engine=engine).stdout)
    assert "no turn is short enough to be summarized in a context of 30 tokens" in out


def test_compacting_makes_room_for_an_answer_that_was_cut(tiny_model: Path, tmp_path: Path) -> None:
    keys = f"/set n 30\r{'one ' * 30}\r/set n none\rtwo\r/compact\r/set n 40\r/continue\r/export {tmp_path}/a.json\r"
    result = talk_to(tiny_model, keys, "--temp", "0", "--ignore-eos", "-c", "640")
    out = plain(result.stdout)
    assert "[the context is full]" in out
    assert "replaced 2 messages with this summary" in out
    messages = exported(tmp_path / "a.json")
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[2]["content"] == "two"
