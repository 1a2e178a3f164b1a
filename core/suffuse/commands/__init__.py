"""What the command line does: one module for each command, each also callable from Python."""
