"""Answers for streams of video, as they arrive: cameras, network streams, pipes, and files as if live."""
