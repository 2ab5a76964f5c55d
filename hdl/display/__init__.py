"""Displays: two lines of text in, pins out."""
