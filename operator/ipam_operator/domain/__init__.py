"""Frozen values and pure decisions: no await, no clock, no framework."""
