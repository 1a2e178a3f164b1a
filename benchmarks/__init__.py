"""What suffuse is measured by. Run ``python -m benchmarks --list`` at the root of the repository."""
