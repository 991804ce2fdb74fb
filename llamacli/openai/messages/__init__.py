"""Anthropic's Messages API, as values in and values out.

`POST /v1/messages`:

    request = read_request(body, defaults)                                # UsageError: 400
    turn = backend.render(request.question)
    stream = MessageStream(request, model=name, prompt_tokens=len(turn.prompt.tokens))
    send(stream.begin())                                                  # message_start
    for event in backend.answer(turn, request.generation.resolved(backend.resolve_biases)):
        send(stream.feed(event))                                          # the last is message_stop

Each document is sent as the event of its `type`; `PING` may come between any two. Without `stream`, the same events are fed and
`stream.message` is sent at the end. Errors, before the first event or after it, are `error_document(problem)`.

`POST /v1/messages/count_tokens`: `read_count(body)` is the question, and `count_document` says how many tokens its turn has.
"""
