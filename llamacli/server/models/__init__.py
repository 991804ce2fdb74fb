"""The served models: which are loaded, and who may use them."""
