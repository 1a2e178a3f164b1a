"""Molecules for suffuse: data sources, backbones, the graph decoder and metrics."""
