"""What fault tests of whole runs share."""

from __future__ import annotations

from run_fixtures import forker, photos, place, whole, zygote

__all__ = ["forker", "photos", "place", "whole", "zygote"]
