"""The process that measures costs: a request as a line of JSON in, lines of JSON out. ``runs.costing`` starts it.

It ends when the process that asked does: its stdin closes then. Torch is loaded only when somebody watches that.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from deitft.core.forked import as_child


def main() -> int:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    as_child()
    request = _request()
    threading.Thread(target=_end_with_who_asked, daemon=True).start()

    def say(value: Mapping[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    from deitft.runs.cost_work import answer

    answer(request, say)
    answers.close()
    return 0


def _request() -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            raise SystemExit(1)
        data += piece
    value: dict[str, Any] = json.loads(data)
    return value


def _end_with_who_asked() -> None:
    os.read(0, 1)  # nothing more is ever written: it returns when the other end is closed, by whatever
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
