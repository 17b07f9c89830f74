"""The engine: from a plan to records, exactly once."""
