"""The simulated answers of ``benchmarks/crossed_sample.py``, for tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PLACE = Path(__file__).resolve().parent.parent / "benchmarks" / "crossed_sample.py"
_SPEC = importlib.util.spec_from_file_location("crossed_sample", _PLACE)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules["crossed_sample"] = _MODULE  # dataclasses look their module up
_SPEC.loader.exec_module(_MODULE)

Population = _MODULE.Population
