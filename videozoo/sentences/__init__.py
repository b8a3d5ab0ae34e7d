"""Sentences as vectors: one file an encoder."""
