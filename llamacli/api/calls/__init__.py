"""The calls of `Llama`, by what they are about: each class is a base of the next."""
