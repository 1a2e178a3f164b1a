"""Lines of text by letters, for suffuse."""
