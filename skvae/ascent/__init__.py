"""The loop of every NumPy model, the search over starts, and checkpoints."""
