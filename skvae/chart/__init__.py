"""Exact inference on trees: inside, outside and CKY."""
