"""Engines elsewhere: at an address, in a cluster."""
