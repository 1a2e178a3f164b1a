"""Networks on crystals."""
