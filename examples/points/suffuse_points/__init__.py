"""Outlines as clouds of points, for suffuse."""
