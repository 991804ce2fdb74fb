"""OpenAI's Responses API, as values in and values out.

`POST /v1/responses`:

    request = read_request(body, defaults, store, owner=key_name)         # UsageError: 400
    turn = backend.render(request.question)
    stream = ResponseStream(request, model=name, keep=lambda stored: store.put(key_name, stored))
    send(stream.begin())                                                  # response.created, response.in_progress
    for event in backend.answer(turn, request.generation.resolved(backend.resolve_biases)):
        send(stream.feed(event))                                          # the last is response.completed, .incomplete, .failed

Each document is sent as the event of its `type`, and nothing follows the last. Without `stream`, the same events are fed and
`stream.response` is sent at the end. An exception after the first event is `stream.fail(problem)`. `GET` and `DELETE` of
`/v1/responses/{id}` are `store.find` and `store.remove`; `/v1/responses/{id}/input_items` is `items_document`;
`/v1/responses/input_tokens` reads the same request and sends `count_document`.
"""
