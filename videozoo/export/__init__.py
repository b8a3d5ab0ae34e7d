"""From a trained network to a folder that other runtimes compute, without torch."""
