"""The engine: loads models and runs sequences. Typed and silent; never prints, exits or reads the environment."""
