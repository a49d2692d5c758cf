"""Processes that do the tasks of a search."""
