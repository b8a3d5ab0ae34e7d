"""Reading, importing and writing weights."""
