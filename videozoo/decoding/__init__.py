"""From a network's outputs to answers, in numpy: one file for each task."""
