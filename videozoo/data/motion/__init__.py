"""The motion world."""
