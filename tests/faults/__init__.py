"""Hostile input, threads, interruptions, tampered files, and a thousand fits in one process."""
