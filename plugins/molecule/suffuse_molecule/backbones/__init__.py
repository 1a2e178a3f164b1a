"""Networks for molecular graphs: a transformer on all pairs, and sparse message passing for large graphs.

Each is imported from its own module, because torch-geometric, which only `gps` builds on, takes seconds to import.
"""
