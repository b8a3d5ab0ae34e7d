"""Text in pictures: a bundled font, and system fonts for other scripts."""
