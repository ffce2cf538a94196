"""Ahead-of-time compiling for a pod: does the step fit, and what bounds it."""
