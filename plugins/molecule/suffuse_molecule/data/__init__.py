"""Where molecules come from: the embedded NCI list, files of SMILES and SDF, and sets of PyTorch Geometric."""
