"""A backend at an address: any server that speaks OpenAI's HTTP API."""
