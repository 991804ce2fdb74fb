"""The main program of a child: its connections, its calls, its limits. What it does is in `services`."""
