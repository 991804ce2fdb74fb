"""The sampling options: one for each field of SamplingParams."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from llamacli.cli.framework.parameters import Option, option
from llamacli.cli.framework.parsers import parse_escaped, parse_logit_bias, parse_names, parse_seed
from llamacli.engine.params import SamplingField, SamplingParams, sampling_fields
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.backend.protocol import RowBackend

_SAMPLING = SamplingParams()

_NAMES = {
    "temperature": ("--temp", "--temperature"),
    "seed": ("-s", "--seed"),
    "logit_bias": ("-l", "--logit-bias"),
    "typical_p": ("--typical-p", "--typical"),
    "top_n_sigma": ("--top-n-sigma", "--top-nsigma"),
    "ignore_eos": ("--ignore-eos/--no-ignore-eos",),
    "dynatemp_exponent": ("--dynatemp-exp",),
    "dry_sequence_breakers": ("--dry-sequence-breaker",),
    "mirostat_eta": ("--mirostat-lr",),
    "mirostat_tau": ("--mirostat-ent",),
}
"""llama.cpp's names, where they are not those of the fields."""

_TEXTS: dict[str, dict[str, Any]] = {
    "seed": {"metavar": "N", "parser": parse_seed, "shows": "random"},
    "logit_bias": {"metavar": "TOKEN=±BIAS", "parser": parse_logit_bias, "shows": None},
    "ignore_eos": {"shows": None},
    "samplers": {"metavar": "NAMES", "parser": parse_names, "shows": ", ".join(_SAMPLING.samplers)},
    "dry_sequence_breakers": {"metavar": "TEXT", "parser": parse_escaped, "shows": r"\n : \" *"},
}
"""The values that are not single numbers."""

_NOTES = {
    "logit_bias": "; can be repeated",
    "samplers": "; comma-separated",
    "dry_sequence_breakers": "; can be repeated; `none` disables",
}


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """The sampling options that were given: `values` by field of SamplingParams, None where an option was not given.

    What was not given is the model's recommendation, or else our default.
    """

    PANEL: ClassVar[str] = "Sampling"

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def declared(cls) -> Iterator[Option]:
        """The options, in the order of the fields."""
        for one in sampling_fields().values():
            names = _NAMES.get(one.name, (f"--{one.name.replace('_', '-')}",))
            texts: dict[str, Any] = {"shows": one.default} | _TEXTS.get(one.name, {})
            built = option(*names, help=one.help.removesuffix(".") + _NOTES.get(one.name, "") + ".", **texts)
            yield built.build(one.name, _annotation(one), None, cls.PANEL)

    def params(self, base: SamplingParams = _SAMPLING) -> SamplingParams:
        """`base` (our defaults, or with what the model recommends) changed by what was given; for biases see `resolved`."""
        return dataclasses.replace(base, **self.given())

    def resolved(self, engine: RowBackend) -> SamplingParams:
        """Our defaults, changed by what the model recommends, changed by what was given; tokens of biases become ids."""
        params = self.params(engine.sampling_defaults(_SAMPLING))
        biases = self.values.get("logit_bias")
        return dataclasses.replace(params, logit_bias=engine.resolve_biases(biases)) if biases else params

    def given(self) -> dict[str, Any]:
        """The fields of SamplingParams that the command line, the environment or the settings set; without the biases."""
        given = {name: value for name, value in self.values.items() if value not in (None, ()) and name != "logit_bias"}
        if given.get("dry_sequence_breakers") == ("none",):
            given["dry_sequence_breakers"] = ()
        return given


def _annotation(one: SamplingField) -> Any:
    """The type of the option: biases may name tokens by their text."""
    return tuple[tuple[int | str, float], ...] if one.name == "logit_bias" else one.annotation
