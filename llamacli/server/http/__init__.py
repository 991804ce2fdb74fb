"""HTTP by hand over ASGI: bodies with limits, event streams that notice clients that left, errors in OpenAI's form."""
