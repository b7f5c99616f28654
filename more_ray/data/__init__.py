"""Preference data: rows in, packed batches out."""
