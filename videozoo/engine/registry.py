"""The registries of optimizers and learning-rate schedules, importable without torch."""

from videozoo.config.registry import Registry

__all__ = ["optimizers", "register_optimizer", "register_schedule", "schedules"]

optimizers = Registry("optimizer", "videozoo.engine", decorator="register_optimizer")
register_optimizer = optimizers.register
"""Registers an optimizer: a function that returns the `torch.optim.Optimizer` of a `Task`."""

schedules = Registry("schedule", "videozoo.engine", decorator="register_schedule")
register_schedule = schedules.register
