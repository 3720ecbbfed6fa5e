"""Training of a module that computes a bound, by skorch."""
