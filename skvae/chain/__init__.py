"""Inference on a discrete chain: pure functions of arrays that know no model."""
