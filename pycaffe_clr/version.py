"""Versions of this package and of others, as they are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version(name: str = "pycaffe_clr") -> str:
    """Version of an installed package; "unknown" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
