"""Data: data sets, splits, protocols. Nothing here knows a model."""
