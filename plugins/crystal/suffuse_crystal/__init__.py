"""Crystals for suffuse: data sources, a periodic graph network, the structure decoder and metrics."""
