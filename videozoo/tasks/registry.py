"""The registry of tasks, importable without torch."""

from videozoo.config.registry import Registry

__all__ = ["register_task", "tasks"]

tasks = Registry("task", "videozoo.tasks", decorator="register_task")
register_task = tasks.register
"""Registers a task: a subclass of `Task`."""
