"""Text in pictures: one font that is shipped, and those of the system for other scripts."""
