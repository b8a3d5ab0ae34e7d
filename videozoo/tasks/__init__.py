"""One file a task: loss, predictions, metrics."""

from videozoo.tasks.registry import register_task, tasks

__all__ = ["register_task", "tasks"]
