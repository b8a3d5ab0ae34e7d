"""Recipes: YAML in, checked against the signatures of what they build, the resolved record out."""
