"""Programs: grammars lowered to plain rules, as llama.cpp lowers them."""
