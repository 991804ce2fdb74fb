"""Pictures and sounds in prompts: decoded values in, embeddings of the model out."""
