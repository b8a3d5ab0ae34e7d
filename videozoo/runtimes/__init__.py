"""Exported networks: how they lie on the disk, and what runs them. Nothing here needs torch, but for its own format."""
