"""Messages, chat templates and turns: from a conversation to a prompt, and from generated text to an answer."""
