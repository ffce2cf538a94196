"""Evaluation of a representation. Needs only ``embed``; knows no modality and no method."""
