"""A module a kind of reference folder; each has `matches(folder, manifest)` and `compare(...)`."""
