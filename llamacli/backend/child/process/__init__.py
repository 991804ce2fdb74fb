"""The process of a child, as its parent sees it: its start, its calls, its end."""
