"""Sampling of the next token: llama.cpp's sampler chain, built from `SamplingParams`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from llamacli.binding.arrays import new_struct, reference, string_array, struct_array
from llamacli.binding.library import library
from llamacli.engine.events import TokenLogprob
from llamacli.engine.params import SamplingParams
from llamacli.engine.runtime.model import Model
from llamacli.errors import ClosedError, MemoryFullError

_KEEP_BEST = {"top_n_sigma", "top_k", "top_p", "min_p", "temperature"}
"""Samplers that keep the most probable token the most probable."""


class Sampler:
    """Sampler chain of one sequence, with its random state and the tokens that its penalties see.

    `seed` is the seed in use, drawn here if the parameters have none.

    Raises (when built):
        MemoryFullError: if llama.cpp could not make a sampler.
    """

    def __init__(self, model: Model, params: SamplingParams, *, logprobs: int | None = None) -> None:
        self._library = library()
        self._model = model
        self.given = params
        self.seed = secrets.randbits(32) if params.seed is None else params.seed
        active = _active_samplers(params)
        biases = _biases(model, params)
        # When the chain begins with a top-k, only the k best logits need to become candidates at all.
        prefilter = params.mirostat == 0 and bool(active) and active[0] == "top_k"
        self.remembers = bool({"penalties", "dry"} & set(active))
        self._biases = struct_array("llama_logit_bias", biases)
        self._n_top = -1 if logprobs is None else logprobs
        self._choice = new_struct("llamacli_choice")
        self._choice_reference = reference(self._choice)
        self._top = struct_array("llamacli_candidate", [(0, 0.0)] * max(self._n_top, 1))
        is_greedy = params.temperature <= 0 and all(name in _KEEP_BEST for name in active)
        self._chain = _build_chain(model, params, self.seed, [] if is_greedy else active)  # C takes the best token itself
        self._lane = new_struct("llamacli_lane")
        self._lane_reference = reference(self._lane)
        lane = self._lane
        lane.chain, lane.biases, lane.n_biases, lane.n_top = self._chain, self._biases, len(biases), self._n_top
        lane.greedy = is_greedy
        lane.top_k = max(params.top_k, params.min_keep, 1) if prefilter else 0

    def sample(self, context_handle: Any, index: int, matcher: Any = None) -> int:
        """Choose a token from the logits of output `index`, and accept it; `matcher` is the handle of a constraint.

        Raises:
            ConstraintError: if the constraint allows no token here.
            DecodeError: if no logit is finite.
        """
        self._require_open()
        self._lane.constraint = matcher
        self._library.llamacli_sample(context_handle, index, self._lane_reference, self._choice_reference, self._top)
        return int(self._choice.token)

    def lane(self, sequence: int, position: int, token: int, matcher: Any, *, certain: int = 0, least: float = 0.0) -> Any:
        """Return what C needs to continue alone after `token` at `position` of a sequence of the cache (see `Burst`).

        It stops where `matcher` makes `certain` bytes of text certain, and with a token whose probability is smaller than
        `least`, for which log probabilities must be requested; 0 does not.

        Raises:
            ClosedError: if the sampler was closed.
        """
        self._require_open()
        lane = self._lane
        lane.sequence, lane.position, lane.token, lane.constraint = sequence, position, token, matcher
        lane.certain, lane.least = certain, least
        return lane

    @property
    def tells_top(self) -> bool:
        """True if the most probable tokens are reported beside the chosen one."""
        return self._n_top > 0

    def _require_open(self) -> None:
        if self._chain is None:
            raise ClosedError("the sampler is closed")

    def logprob(self) -> float | None:
        """Return the natural-log probability of the last token before any sampler, None unless it was requested."""
        return float(self._choice.logprob) if self._n_top >= 0 else None

    def top(self) -> tuple[TokenLogprob, ...]:
        """Return the most probable tokens at the last position, the best first."""
        if not self._choice.n_top:
            return ()
        rows = self._top[: self._choice.n_top]
        return tuple(TokenLogprob(row.token, self._model.vocabulary.piece(row.token), row.logprob) for row in rows)

    def force(self, token: int) -> None:
        """Accept a token that was not sampled but is part of the answer."""
        self._choice.n_top = 0
        self._library.llama_sampler_accept(self._chain, token)

    def remember(self, tokens: list[int]) -> None:
        """Show the penalties the tokens of the prompt, which were not sampled here."""
        if self.remembers:
            window = max(_window(self._model, n) for n in (self.given.repeat_last_n, self.given.dry_penalty_last_n))
            for token in tokens[-window:] if window else []:
                self._library.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        """Free the chain."""
        chain, self._chain = self._chain, None
        if chain is not None:
            self._library.llama_sampler_free(chain)


def _active_samplers(params: SamplingParams) -> list[str]:
    """The samplers of the chain that have an effect with these parameters, in order."""
    does = {
        "penalties": params.repeat_last_n != 0
        and (params.repeat_penalty != 1 or params.frequency_penalty != 0 or params.presence_penalty != 0),
        "dry": params.dry_multiplier != 0 and params.dry_base >= 1 and params.dry_penalty_last_n != 0,
        "top_n_sigma": params.top_n_sigma > 0,
        "top_k": params.top_k > 0,
        "typ_p": params.typical_p < 1,
        "top_p": params.top_p < 1,
        "min_p": params.min_p > 0,
        "xtc": params.xtc_probability > 0 and params.xtc_threshold <= 0.5,
        "temperature": True,
        "adaptive_p": True,
        "infill": True,
    }
    if params.mirostat:
        return ["temperature", f"mirostat_{params.mirostat}"]
    return [name for name in params.samplers if does[name]]


def _biases(model: Model, params: SamplingParams) -> list[tuple[int, float]]:
    vocabulary = model.vocabulary
    vocabulary.check_ids(token for token, _ in params.logit_bias)
    biases = list(params.logit_bias)
    biases += [(token, float("-inf")) for token in model.suppressed_tokens]
    if params.ignore_eos:
        biases += [(token, float("-inf")) for token in vocabulary.end_tokens()]
    return biases


def _build_chain(model: Model, params: SamplingParams, seed: int, active: list[str]) -> Any:
    lib = library()
    defaults = lib.llama_sampler_chain_default_params()
    defaults.no_perf = True
    chain = lib.llama_sampler_chain_init(defaults)

    def add(sampler: Any) -> None:
        if not sampler:
            lib.llama_sampler_free(chain)
            raise MemoryFullError("out of memory for a sampler")
        lib.llama_sampler_chain_add(chain, sampler)

    makers = _makers(model, params, seed) if active else {}
    for name in active:
        add(makers[name]())
    if not params.mirostat and "adaptive_p" not in active:
        add(lib.llama_sampler_init_dist(seed))
    return chain


def _makers(model: Model, p: SamplingParams, seed: int) -> dict[str, Callable[[], Any]]:
    lib, vocabulary = library(), model.vocabulary
    breakers = string_array(p.dry_sequence_breakers)
    return {
        "penalties": lambda: lib.llama_sampler_init_penalties(
            vocabulary.size, _window(model, p.repeat_last_n), p.repeat_penalty, p.frequency_penalty, p.presence_penalty
        ),
        "dry": lambda: lib.llama_sampler_init_dry(
            vocabulary.handle, p.dry_multiplier, p.dry_base, p.dry_allowed_length, _window(model, p.dry_penalty_last_n),
            breakers, len(p.dry_sequence_breakers),
        ),
        "top_n_sigma": lambda: lib.llama_sampler_init_top_n_sigma(p.top_n_sigma),
        "top_k": lambda: lib.llama_sampler_init_top_k(p.top_k),
        "typ_p": lambda: lib.llama_sampler_init_typical(p.typical_p, p.min_keep),
        "top_p": lambda: lib.llama_sampler_init_top_p(p.top_p, p.min_keep),
        "min_p": lambda: lib.llama_sampler_init_min_p(p.min_p, p.min_keep),
        "xtc": lambda: lib.llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, p.min_keep, seed),
        "temperature": lambda: lib.llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent),
        "adaptive_p": lambda: lib.llama_sampler_init_adaptive_p(p.adaptive_target, p.adaptive_decay, seed),
        "infill": lambda: lib.llama_sampler_init_infill(vocabulary.handle),
        "mirostat_1": lambda: lib.llama_sampler_init_mirostat(vocabulary.size, seed, p.mirostat_tau, p.mirostat_eta, 100),
        "mirostat_2": lambda: lib.llama_sampler_init_mirostat_v2(seed, p.mirostat_tau, p.mirostat_eta),
    }  # fmt: skip


def _window(model: Model, length: int) -> int:
    """The number of tokens to look back; -1 is the whole context, and more would only take memory."""
    return min(length, model.n_ctx_train) if length >= 0 else model.n_ctx_train
