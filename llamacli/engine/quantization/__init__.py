"""Quantization of models: the types, and llama.cpp's own quantizer."""
