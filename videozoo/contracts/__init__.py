"""The types that rooms share: records, data sets, input specs, answers, backends. Nothing here imports torch."""
