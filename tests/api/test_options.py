"""The keyword arguments for sampling: each field of the engine's parameters has one."""

from __future__ import annotations

import typing

import pytest

from llamacli.api.arguments.options import SamplingKeywords, sampling_params
from llamacli.engine.params import SamplingParams, sampling_fields
from llamacli.errors import UsageError


def test_every_sampling_field_is_an_argument() -> None:
    known = {one.argument for one in sampling_fields().values()}
    assert set(typing.get_type_hints(SamplingKeywords)) == known | {"tfs_z"}


def test_arguments_change_the_defaults() -> None:
    given = {"mirostat_mode": 2, "xtc_probability": 0.5, "samplers": ["top_k"], "top_p": None, "logit_bias": {"7": -1}}
    found = sampling_params(SamplingParams(top_p=0.5), given)
    assert (found.mirostat, found.xtc_probability, found.samplers, found.top_p) == (2, 0.5, ("top_k",), 0.5)
    assert found.logit_bias == ((7, -1.0),)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'mirostat'"):
        sampling_params(SamplingParams(), {"mirostat": 1})
    with pytest.raises(UsageError, match="logit_bias: 'cat' is not a token id"):
        sampling_params(SamplingParams(), {"logit_bias": {"cat": 1}})
