"""From records to tables that can be believed."""
