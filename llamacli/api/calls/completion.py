"""Completions and chats as OpenAI's documents, whole or streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from llamacli.api.arguments.inputs import PromptLike, several
from llamacli.api.arguments.names import naming_arguments
from llamacli.api.calls.tokens import Tokens

if TYPE_CHECKING:
    from llamacli.api.arguments.options import ChatKeywords, CompletionKeywords, FurtherSampling
    from llamacli.api.callables import LogitsProcessor, StoppingCriteria
    from llamacli.api.chat.handlers import ChatFormatter
    from llamacli.api.grammar import LlamaGrammar
    from llamacli.openai.types import (
        CreateChatCompletionResponse,
        CreateChatCompletionStreamResponse,
        CreateCompletionResponse,
        CreateCompletionStreamResponse,
    )


class Completions(Tokens):
    """Calls that generate. A base of `Llama`, which loads the model."""

    chat_format: str | None
    chat_handler: Callable[..., Any] | None

    @overload
    def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        stream: Literal[False] = False,
        **more: Unpack[CompletionKeywords],
    ) -> CreateCompletionResponse: ...

    @overload
    def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        stream: Literal[True],
        **more: Unpack[CompletionKeywords],
    ) -> Iterator[CreateCompletionStreamResponse]: ...

    @overload
    def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        stream: bool,
        **more: Unpack[CompletionKeywords],
    ) -> CreateCompletionResponse | Iterator[CreateCompletionStreamResponse]: ...

    @naming_arguments
    def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        temperature: float | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        repeat_penalty: float | None = None,
        top_k: int | None = None,
        stream: bool = False,
        seed: int | None = None,
        tfs_z: float | None = None,
        mirostat_mode: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        model: str | None = None,
        stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        grammar: LlamaGrammar | str | None = None,
        logit_bias: Mapping[int, float] | Mapping[str, float] | None = None,
        *,
        stream_options: Mapping[str, Any] | None = None,
        **further: Unpack[FurtherSampling],
    ) -> Any:
        """Continue a text, a list of token ids, or several texts as one batch on parallel sequences.

        Control tokens are recognized in the text of a prompt, as in a template's: a text from elsewhere belongs in a message of
        `create_chat_completion`. `suffix` follows the gap that is filled, for models trained for infill. `max_tokens` None or
        below 1 is no limit, but 0 with `echo` makes no token. `logprobs` with `echo` is about the prompt, too. A logits
        processor gets the tokens so far and an (n_vocab,) array of logits, which it changes or returns anew; a stopping
        criterion gets the same and may end the answer.
        Returns OpenAI's `text_completion`, or an iterator of its chunks with `stream`.

        >>> answer = llm.create_completion("Once upon a time", max_tokens=4, temperature=0)
        >>> answer["object"], answer["choices"][0]["finish_reason"]
        ('text_completion', 'length')
        >>> len(list(llm.create_completion("Once upon a time", max_tokens=4, temperature=0, stream=True))) > 1
        True
        >>> llm("Once upon a time", max_tokens=2)["usage"]["completion_tokens"]
        2
        >>> [choice["index"] for choice in llm.create_completion(["One", "Two"], max_tokens=2)["choices"]]
        [0, 1]

        Raises:
            ContextFullError: if a prompt is longer than the context.
            GrammarError: if the grammar is invalid, or the model cannot satisfy it.
            UsageError: if an argument is invalid.
        """
        given = locals()
        from llamacli.api.arguments.options import generation, sampling_keywords, sampling_params
        from llamacli.api.arguments.request import constraint_of
        from llamacli.api.callables import criterion_of, processor_of
        from llamacli.api.calls.task import Task
        from llamacli.openai.response import Heading

        sampling = sampling_params(self._defaults, {**sampling_keywords(given), "seed": self._next_seed(seed)})
        params = generation(sampling, max_tokens=max_tokens, stop=stop, logprobs=logprobs, echo=echo)
        processor, criterion = processor_of(logits_processor), criterion_of(stopping_criteria)
        constraint = constraint_of(grammar)
        tasks = []
        for index, one in enumerate(several(prompt)):
            turn = self._text_turn(one, suffix, constraint)
            text = one if isinstance(one, str) else turn.prompt.text
            task = Task(turn=turn, params=params, processor=processor, criterion=criterion, index=index, text=text, echo=echo)
            tasks.append(task)
        return self._documents(Heading(model or self._name, is_chat=False), tasks, stream=stream, options=stream_options)

    __call__ = create_completion

    @overload
    def create_chat_completion(
        self, messages: Sequence[Any], *, stream: Literal[False] = False, **more: Unpack[ChatKeywords]
    ) -> CreateChatCompletionResponse: ...

    @overload
    def create_chat_completion(
        self, messages: Sequence[Any], *, stream: Literal[True], **more: Unpack[ChatKeywords]
    ) -> Iterator[CreateChatCompletionStreamResponse]: ...

    @overload
    def create_chat_completion(
        self, messages: Sequence[Any], *, stream: bool, **more: Unpack[ChatKeywords]
    ) -> CreateChatCompletionResponse | Iterator[CreateChatCompletionStreamResponse]: ...

    @naming_arguments
    def create_chat_completion(
        self,
        messages: Sequence[Any],
        functions: Sequence[Any] | None = None,
        function_call: Any = None,
        tools: Sequence[Any] | None = None,
        tool_choice: Any = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        response_format: Any = None,
        max_tokens: int | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        repeat_penalty: float | None = None,
        tfs_z: float | None = None,
        mirostat_mode: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        model: str | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        grammar: LlamaGrammar | str | None = None,
        logit_bias: Mapping[int, float] | Mapping[str, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        **more: Any,
    ) -> Any:
        """Answer a conversation. Returns OpenAI's `chat.completion`, or an iterator of its chunks with `stream`.

        `response_format` is `{"type": "json_object"}`, with a `schema` if wanted, or OpenAI's `json_schema`. Models whose
        template knows no tools get them in a generic form. `functions` and `function_call` are OpenAI's older form of tools.

        >>> messages = [{"role": "user", "content": "Say something."}]
        >>> answer = llm.create_chat_completion(messages, max_tokens=3, temperature=0)
        >>> answer["choices"][0]["message"]["role"]
        'assistant'
        >>> chunks = list(llm.create_chat_completion(messages, max_tokens=3, stream=True))
        >>> chunks[0]["choices"][0]["delta"]
        {'role': 'assistant'}

        Raises:
            TemplateError: if the chat template refuses the messages.
            ContextFullError, GrammarError, UsageError: as `create_completion`.
        """
        given = {**locals()}
        del given["self"], given["messages"], given["more"]
        given |= more
        from llamacli.api.chat.handlers import REGISTRY, FormatHandler

        handler = self.chat_handler or REGISTRY.handlers.get(self.chat_format or "")
        if handler is None:
            return self.chat_with(self.chat_format, messages, **given)
        if isinstance(handler, FormatHandler):
            return self.chat_with(handler.chat_format, messages, **given)
        return handler(llama=self, messages=messages, **{key: value for key, value in given.items() if value is not None})

    def chat_with(
        self,
        chat_format: str | ChatFormatter | None,
        messages: Sequence[Any],
        *,
        functions: Sequence[Any] | None = None,
        function_call: Any = None,
        tools: Sequence[Any] | None = None,
        tool_choice: Any = None,
        parallel_tool_calls: bool = False,
        response_format: Any = None,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None = None,
        grammar: LlamaGrammar | str | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        stream_options: Mapping[str, Any] | None = None,
        **sampling: Any,
    ) -> Any:
        """Answer a conversation with another chat format or formatter; None is the model's own template."""
        from llamacli.api.arguments.options import generation, sampling_params
        from llamacli.api.arguments.request import constraint_of, rendering_of, response_constraint
        from llamacli.api.callables import criterion_of, processor_of
        from llamacli.api.calls.task import Task
        from llamacli.api.chat.requests import messages_of, tools_of, with_function_call
        from llamacli.openai.response import Heading

        sampling["seed"] = self._next_seed(sampling.get("seed"))
        params = generation(
            sampling_params(self._defaults, sampling),
            max_tokens=max_tokens,
            stop=stop,
            logprobs=(top_logprobs or 0) if logprobs else None,
        )
        constraint = constraint_of(grammar) or response_constraint(response_format)
        rendering = rendering_of(*tools_of(functions, function_call, tools, tool_choice), parallel_tool_calls)
        turn, stops = self._chat_turn(chat_format, messages_of(messages), rendering, constraint)
        task = Task(
            turn=turn,
            params=stops.added_to(params),
            processor=processor_of(logits_processor),
            criterion=stops.joined(criterion_of(stopping_criteria)),
        )
        made = self._documents(Heading(model or self._name), [task], stream=stream, options=stream_options)
        if not functions:
            return made
        return with_function_call(made) if isinstance(made, dict) else map(with_function_call, made)
