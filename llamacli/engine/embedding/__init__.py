"""Vectors of texts: tokenization into pieces, packing into batches, evaluation, pooling and normalization."""
