"""The result of a tuning session as text or as a JSON document, and its progress."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from llamacli.bench.compare.compare import Outcome
from llamacli.bench.measure.setup import TrialSize
from llamacli.bench.tune.forecast import SpeedForecast
from llamacli.bench.tune.params import Gain, PairCompared, RaceRound, SettingChoice, TuneEvent, TuneReport
from llamacli.bench.tune.profile import changed_settings, profile_of
from llamacli.bench.tune.session import TuneOutcome, TuneStep
from llamacli.bench.tune.type_speeds import TypeReport, TypeSpeed
from llamacli.render.columns import format_records
from llamacli.render.text import columns, escape_line
from llamacli.render.wrap import wrap
from llamacli.units import format_bytes

Paint = Callable[[str, str], str]
"""A function that returns text in one of the styles bold, dim, red, green, yellow and cyan."""

Flag = Callable[[str], str]
"""A function that returns the command line's option for a parameter or a setting."""

_PHASES = {"prompt": "prompt", "generation": "generation", "overall": "the whole job"}
_VERDICTS = {"faster": "green", "slower": "red"}
_WIDEST = 100
_TYPE_PHASES: tuple[Literal["prompt", "generation"], ...] = ("prompt", "generation")


def format_event(event: TuneStep | TuneEvent) -> str:
    """Return the current step, in a few words."""
    match event:
        case TuneStep():
            return event.text
        case RaceRound():
            return f"{event.name}, round {event.round}: {', '.join(map(str, event.remaining))}"
        case SettingChoice():
            return f"{event.name}: {event.after}"
        case PairCompared():
            return f"comparing with the start, pair {event.pair}"
        case _:
            return "done"


def format_forecast(forecast: SpeedForecast) -> str:
    """Return the measured speeds of a model and the estimated ones of a quantization."""
    lines = []
    for phase in _TYPE_PHASES:
        now, then = forecast.now.speeds[phase], forecast.then.speeds[phase]
        lines.append(f"{_PHASES[phase]}: {now:,.1f} -> about {then:,.1f} tokens/s ({then / now:.2f} times)")
    return "\n".join(lines) + "\n"


def format_tuning(outcome: TuneOutcome, *, source: str | None, path: Path, width: int, paint: Paint, flag: Flag) -> str:
    """Return the decision about each setting, the gains, and the estimates of other quantizations.

    `source` is the reference of the model on the command line, or None.
    """
    report, size = outcome.report, outcome.size
    depth = f" after {size.depth:,}" if size.depth else ""
    title = f"{escape_line(outcome.model)}: prompts of {size.n_prompt:,} and answers of {size.n_gen:,} tokens{depth}"
    lines = [paint(line, "bold") for line in wrap(title, width, rest="  ")]
    if size != outcome.job:
        job = f"prompts of {outcome.job.n_prompt:,} and answers of {outcome.job.n_gen:,} tokens"
        lines += _wrapped(f"Measured in this size instead of {job}, because the budget is short (see {flag('budget')}).", width)
    if report.choices:
        lines += [*_choice_lines(outcome, width, paint, flag), ""]
    if outcome.speeds or report.prompt or report.generation:
        lines += [*_gain_lines(outcome, width, paint), ""]
    lines += _wrapped(_verdict(outcome, flag), width)
    if outcome.types is not None:
        lines += ["", *_type_lines(outcome.types, width, paint), ""]
        for sentence in _type_advice(outcome.types, source, path):
            lines += _wrapped(sentence, width)
    if report.interrupted:
        lines += ["", *_wrapped("Interrupted: these are the results so far, and nothing was saved.", width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a paragraph; an indented command stays on one line, so that it can be copied."""
    if text.startswith("  "):
        return [text]
    return wrap(text, min(width, _WIDEST))


def _choice_lines(outcome: TuneOutcome, width: int, paint: Paint, flag: Flag) -> Iterator[str]:
    yield paint(f"{'setting':<16}{'before':>8}{'best':>8}   tried", "bold")
    for choice in outcome.report.choices:
        tried = ", ".join(map(str, choice.tried)) if len(choice.tried) > 1 else ""
        notes = escape_line("; ".join(filter(None, (tried, _note(choice, flag)))))
        best = f"{choice.after!s:>8}"
        mark = paint(best, "green") if choice.after != choice.before else best
        yield from wrap(notes, min(width, _WIDEST), first=f"{choice.name:<16}{choice.before!s:>8}{mark}   ")


def _note(choice: SettingChoice, flag: Flag) -> str | None:
    """Return the note of a setting with the options that allow more values to be tried: `…, see -p, --budget`."""
    if choice.note is None or not choice.parameters:
        return choice.note
    return f"{choice.note} (see {', '.join(map(flag, choice.parameters))})"


def _gain_lines(outcome: TuneOutcome, width: int, paint: Paint) -> list[str]:
    report = outcome.report
    gains = {"prompt": report.prompt, "generation": report.generation, "overall": report.overall}
    level = max((gain.outcome.level for gain in gains.values() if gain is not None), default=0.0)
    titles = ("before", "after", "gain", "interval" + (f", {100 * level:.3g} % sure" if level else ""))
    rows = []
    for name, gain in gains.items():
        if gain is not None:
            rows.append((_PHASES[name], _speed(gain.before), _speed(gain.after), *_gain_cells(gain.outcome, paint)))
        elif name in outcome.speeds:
            speed = _speed(outcome.speeds[name])
            rows.append((_PHASES[name], speed, speed, "", "no change affects it"))
    lines = [paint(f"{'tokens/s':<18}{titles[0]:>9}{titles[1]:>9}{titles[2]:>8}   {titles[3]}", "bold")]
    lines += [
        f"{name:<18}{before:>9}{after:>9}{' ' * (8 - columns(times))}{times}   {interval}"
        for name, before, after, times, interval in rows
    ]
    if max(map(columns, lines)) <= width:
        return lines
    return [paint("tokens/s", "bold"), *format_records(titles, rows, width)]


def _gain_cells(outcome: Outcome, paint: Paint) -> tuple[str, str]:
    bounds = f"{outcome.interval[0]:.2f} - {outcome.interval[1]:.2f}" if outcome.interval else ""
    return _times(outcome, paint), f"{bounds}  {outcome.verdict}"


def _speed(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def format_flags(report: TuneReport, flag: Flag) -> list[str]:
    """Return the words of a command line for the settings of the best setup that differ from the start."""
    return [word for name, value in changed_settings(report).items() for word in (flag(name), str(value))]


def _verdict(outcome: TuneOutcome, flag: Flag) -> str:
    report = outcome.report
    flags = format_flags(report, flag)
    if not flags:
        tried = any(len(choice.tried) > 1 for choice in report.choices)
        return "No tried setting is faster than the start beyond noise." if tried else "Nothing was tried."
    checked = any(gain is not None for gain in (report.prompt, report.generation))
    doubt = "" if checked and not report.interrupted else ", although the final comparison is incomplete"
    return f"Use {shlex.join(flags)}{doubt}."


def _type_lines(report: TypeReport, width: int, paint: Paint) -> list[str]:
    titles = ("size", "bits", "prompt", "", "answer", "")
    widths = (10, 6, 12, 8, 12, 8)
    rows = []
    for one in (report.own, *report.others):
        own = one is report.own
        label = f"{one.type}{' (the file)' if own else ''}{' *' if one.is_repacked else ''}"
        speeds = [(_speed(one.speeds[name]), "" if own else _times(one.outcomes[name], paint)) for name in _TYPE_PHASES]
        rows.append((label, format_bytes(one.size), f"{one.bits:.1f}", *(cell for pair in speeds for cell in pair)))
    lines = [paint(_type_line(("layers in (tokens/s)", *titles), widths), "bold"), *(_type_line(row, widths) for row in rows)]
    if max(map(columns, lines)) > width:
        lines = [paint("layers in (tokens/s)", "bold"), *format_records(titles, rows, width)]
    if any(one.is_repacked for one in (report.own, *report.others)):
        lines.append(paint("* repacked for this CPU on loading", "dim"))
    return lines


def _type_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = cells
    aligned = (" " * (size - columns(cell)) + cell for cell, size in zip(figures, widths, strict=True))
    return f"{name:<20}{''.join(aligned)}".rstrip()


def _times(outcome: Outcome, paint: Paint) -> str:
    text = f"{outcome.ratio:.2f}x"
    color = _VERDICTS.get(outcome.verdict)
    return paint(text, color) if color else text


def _type_advice(report: TypeReport, source: str | None, path: Path) -> Iterator[str]:
    """Yield the meaning of the estimate, and the commands that give the better file."""
    if not report.better:
        yield "By this estimate no quantization of about the same quality is worth changing to on this machine."
        return
    best = report.better[0]
    reads, generates = _factor(best, "prompt"), _factor(best, "generation")
    yield (
        f"{report.own.type} is slow on this machine: by this estimate the model would read prompts {reads} and generate "
        f"{generates} as {best.type}. Prefer a file that was quantized to {' or '.join(one.type for one in report.better[:3])} "
        "from the original model; quantizing this one again loses quality:"
    )
    if source is not None and source.startswith("hf:"):
        yield escape_line(f"  llamacli models pull {shlex.quote(_repository(source) + ':' + best.type)}")
    stem, own = path.stem, report.own.type
    target = (stem.replace(own, best.type) if own in stem else f"{stem}-{best.type}") + ".gguf"
    files = f"{shlex.quote(str(path))} {shlex.quote(target)}"
    yield escape_line(f"  llamacli models quantize --allow-requantize {files} {best.type}")


def _repository(source: str) -> str:
    """Return `hf:user/repo` of a reference that may name a quantization."""
    return ":".join(source.split(":")[:2])


def _factor(one: TypeSpeed, phase: str) -> str:
    outcome = one.outcomes[phase]  # type: ignore[index]
    if outcome.verdict != "faster":
        return "about as fast"
    bounds = f" ({outcome.interval[0]:.1f} to {outcome.interval[1]:.1f})" if outcome.interval else ""
    return f"{outcome.ratio:.1f} times{bounds} as fast"


def tuning_document(outcome: TuneOutcome, *, flag: Flag) -> dict[str, Any]:
    """Return the JSON document. Speeds are tokens per second, gains are ratios of speeds."""
    report = outcome.report
    return {
        "model": outcome.model,
        "tokens": _size_document(outcome.size),
        "job_tokens": _size_document(outcome.job),
        "seconds": round(outcome.seconds, 3),
        "interrupted": report.interrupted,
        "settings": [
            {"name": one.name, "before": one.before, "after": one.after, "tried": list(one.tried), "note": _note(one, flag)}
            for one in report.choices
        ],
        "best": profile_of(report),
        "flags": format_flags(report, flag),
        "gains": {
            name: _gain_document(gain)
            for name, gain in (("prompt", report.prompt), ("generation", report.generation), ("overall", report.overall))
        },
        "speeds": dict(outcome.speeds),
        "types": _types_document(outcome.types) if outcome.types is not None else None,
        "warnings": list(outcome.warnings),
    }


def _size_document(size: TrialSize) -> dict[str, int]:
    return {"prompt": size.n_prompt, "generation": size.n_gen, "depth": size.depth}


def _gain_document(gain: Gain | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    return {"before": gain.before, "after": gain.after, **_outcome_document(gain.outcome)}


def _outcome_document(outcome: Outcome) -> dict[str, Any]:
    whole = asdict(outcome)
    names = ("ratio", "interval", "level", "verdict")
    return {name: list(whole[name]) if isinstance(whole[name], tuple) else whole[name] for name in names}


def _types_document(report: TypeReport) -> dict[str, Any]:
    def document(one: TypeSpeed) -> Mapping[str, Any]:
        return {
            "type": one.type,
            "size": one.size,
            "bits_per_weight": one.bits,
            "rearranged": one.is_repacked,
            "speeds": dict(one.speeds),
            "gains": {phase: _outcome_document(outcome) for phase, outcome in one.outcomes.items()},
        }

    return {
        "own": document(report.own),
        "others": [document(one) for one in report.others],
        "better": [one.type for one in report.better],
    }
