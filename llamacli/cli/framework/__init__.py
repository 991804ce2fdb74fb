"""What every command is built from: options, console, signals, settings, help."""
