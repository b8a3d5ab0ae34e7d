"""Our numbers beside reference numbers of the original projects.

    python -m tests.parity FOLDER... [--verbose]

A folder holds what an original network, loss, metric, sampler or transform computed under parameters and
inputs that any machine can rebuild (`rule.py`). A module in `cases/` recognises the folders it knows by their
content, never by their name, and yields how far we are from each stored output.
"""
