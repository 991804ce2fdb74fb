"""JSON schemas: preparation for the converter of llama.cpp, gaps in enforcement, inference from examples."""
