"""Tensor functions and small modules that several papers share."""
