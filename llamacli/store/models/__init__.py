"""Model files: references, catalogue, downloads and inventory."""
