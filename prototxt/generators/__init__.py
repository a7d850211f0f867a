"""Generators of the report's nets: writer (text), cifar, mnist and imagenet (the nets)."""
