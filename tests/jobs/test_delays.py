"""Delay before a retry."""
