"""What a client of OpenAI's HTTP API sends and receives, as values in and values out."""
