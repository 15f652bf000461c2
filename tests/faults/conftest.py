"""What fault tests of whole runs share."""

from __future__ import annotations

from run_fixtures import photos, place, whole, zygote

__all__ = ["photos", "place", "whole", "zygote"]
