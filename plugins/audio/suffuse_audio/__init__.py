"""Sounds for suffuse: data sources, backbones, decoders of spectrograms and waveforms, and metrics."""
