"""The parts that every command is built from: options, console, signals, settings, help."""
