"""Scoring data and its summaries."""
