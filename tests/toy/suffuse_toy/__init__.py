"""A small modality for tests: sets of points in space, each with a kind and an angle."""
