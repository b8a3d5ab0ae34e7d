"""Answers for videos over HTTP: the same answers as `videozoo predict --json`."""
