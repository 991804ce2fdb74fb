"""The owners of C objects: model, context, vocabulary, state."""
