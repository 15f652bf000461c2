"""What serving bundles costs here: measured in processes of their own, told with whether to believe it.

One process times all models, turn by turn. Then each model gets a process that holds nothing else, so that a peak
of memory is that model's. A model that fails, or that its process dies of, is told as failed; the others go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deitft.bundle.check import WEIGHTS
from deitft.bundle.format import Bundle, load_bundle
from deitft.compute.device import Machine, choose
from deitft.core.files import canonical_json, read_json, sha256_bytes, sha256_file, write_json
from deitft.core.forked import how_it_ended
from deitft.core.progress import Progress, Silent, StopFlag, Task
from deitft.core.records import environment, now
from deitft.data.photos import Lost, PhotoSet
from deitft.errors import DeitftError, MissingInputError, Notice
from deitft.evaluation.cost import (
    CostReport,
    CostSettings,
    Memory,
    ModelCost,
    noise_of,
    report_from,
    throughput_of,
    timing_of,
)
from deitft.evaluation.timing import counter_name, flops_of
from deitft.models.build import build
from deitft.runs.classifier import bundle_folder

SAMPLE = 16
"""Photos that are decoded in turn; photos of one shop are much alike in size."""
_WHY = {9: ": often out of memory"}
_START = (
    "import sys; sys.path.append(sys.argv[1]); from deitft.runs.cost_process import main; raise SystemExit(main())"
)


def measure_costs(
    bundles: Sequence[str | Path],
    photos: PhotoSet,
    *,
    settings: CostSettings | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    stop: StopFlag | None = None,
) -> CostReport:
    """Measure runs or bundles together, on photos of which up to ``SAMPLE`` are decoded.

    With ``cache_dir`` a quiet measurement of the very same bundles, photos, machine and settings is used again.

    Raises:
        MissingInputError: no photo could be had (id D1).
        UsageError, UnavailableError: no such device or precision (id DEVICE).
        StoppedError: ``stop`` was set by a signal.
    """
    asked, talk = settings or CostSettings(), progress or Silent()
    flag = StopFlag() if stop is None else stop  # one that is not set is false
    machine = choose(asked.device, threads=asked.threads, workers=0, precision=asked.precision)
    models = [_facts(Path(path)) for path in bundles]
    with tempfile.TemporaryDirectory(prefix="deitft-cost-") as place:
        sample = _sample(photos, Path(place))
        about = _about(machine)
        key = _key(models, sample, about, asked)
        file = None if cache_dir is None else cache_dir / "costs" / f"{key}.json"
        known = None if file is None else _known(file, models)
        if known is not None:
            return known
        with talk.task("measuring costs", len(models) * (asked.rounds + 3), unit="turns") as task:
            report = _Asker(machine, asked, sample, task, flag).report(models, about)
    if file is not None and not report.noise.noisy and all(model.error is None for model in report.models):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, report.record())
    return report


def _facts(path: Path) -> ModelCost:
    """What needs no clock: size, parameters, FLOPs."""
    try:
        folder = bundle_folder(path)
        bundle = load_bundle(folder)
        return _of_bundle(bundle, str(path))
    except DeitftError as error:
        return ModelCost(
            bundle=str(path),
            sha256="",
            model="",
            image_size=0,
            parameters=0,
            weights_bytes=0,
            error=error.record(),
        )


def _of_bundle(bundle: Bundle, name: str) -> ModelCost:
    size, classes = bundle.preprocessing.size, len(bundle.classes)
    shape = build(bundle.model_name, num_classes=classes, image_size=size, device="meta")
    return ModelCost(
        bundle=name,
        sha256=bundle.manifest.sha256,
        model=bundle.model_name,
        image_size=size,
        parameters=sum(parameter.numel() for parameter in shape.net.parameters()),
        weights_bytes=(bundle.folder / WEIGHTS).stat().st_size,
        flops=flops_of(bundle.model_name, num_classes=classes, image_size=size),
    )


def _sample(photos: PhotoSet, place: Path) -> list[Path]:
    """Files of photos from all over the set, wherever they were (a tar shard, say), as far as they can be had."""
    count = min(SAMPLE, len(photos))
    files = []
    for number in range(count):
        index = number * len(photos) // count
        content = photos.read(index)
        if not isinstance(content, Lost):
            files.append(place / f"{number:02d}{Path(photos.paths[index]).suffix.lower()}")
            files[-1].write_bytes(content.data)
    if not files:
        raise MissingInputError("there are no photos to measure costs on", "name a folder with photos", id="D1")
    return files


def _about(machine: Machine) -> dict[str, Any]:
    return {
        "device": machine.device,
        "name": machine.name,
        "precision": machine.precision,
        "threads": machine.threads,
        **environment(),
    }


def _key(
    models: Sequence[ModelCost], sample: Sequence[Path], about: Mapping[str, Any], asked: CostSettings
) -> str:
    parts = [model.sha256 for model in models], [sha256_file(path) for path in sample], about, asdict(asked)
    return sha256_bytes(canonical_json(parts))


def _known(file: Path, models: Sequence[ModelCost]) -> CostReport | None:
    """An earlier report of these, under the names of today; None where there is none that can be read."""
    try:
        report = report_from(read_json(file)) if file.is_file() else None  # type: ignore[arg-type]
    except (DeitftError, KeyError, TypeError, ValueError, OSError):
        return None
    if report is None or len(report.models) != len(models):
        return None
    renamed = tuple(replace(old, bundle=new.bundle) for old, new in zip(report.models, models, strict=True))
    return replace(report, models=renamed)


class _DiedError(Exception):
    """The measuring process ended without an answer: while it was at model ``at``, and how."""

    def __init__(self, at: int, how: str) -> None:
        super().__init__(how)
        self.at, self.how = at, how


@dataclass(frozen=True, slots=True)
class _Asker:
    """Starts the processes and makes figures of what they say."""

    machine: Machine
    settings: CostSettings
    sample: Sequence[Path]
    task: Task
    stop: StopFlag

    def report(self, models: Sequence[ModelCost], about: Mapping[str, Any]) -> CostReport:
        """All figures of all models."""
        timed, told = self._timed(models)
        found = tuple(self._with_memory(model) for model in timed)
        load = told.get("load")
        return CostReport(
            models=found,
            settings=self.settings,
            machine=about,
            counter=counter_name(),
            photos=len(self.sample),
            measured=now(),
            noise=noise_of(found, load=None if load is None else (load[0], load[1]), others=told.get("others")),
        )

    def _timed(self, models: Sequence[ModelCost]) -> tuple[list[ModelCost], Mapping[str, Any]]:
        """Latency and throughput. If the process dies, the model it was at has failed; the others start anew."""
        found = list(models)
        while there := [number for number, model in enumerate(found) if model.error is None]:
            try:
                told = self._ask("time", [found[number] for number in there])
            except _DiedError as died:
                at = there[died.at]
                found[at] = replace(found[at], error=_failure(f"the process that measured it {died.how}"))
                continue
            for place, number in enumerate(there):
                found[number] = _with_samples(
                    found[number], told["samples"][place], told["errors"].get(str(place))
                )
            return found, told
        return found, {}

    def _with_memory(self, model: ModelCost) -> ModelCost:
        if model.error is not None or model.throughput is None:
            return model
        self.task.advance()
        try:
            told = self._ask("memory", [model], batch=model.throughput.batch)
        except _DiedError as died:
            return replace(model, error=_failure(f"the process that measured its memory {died.how}"))
        return replace(model, memory=Memory(**told))

    def _ask(self, kind: str, models: Sequence[ModelCost], **more: Any) -> dict[str, Any]:
        """One process, one request; its last word.

        Raises:
            _DiedError: it ended without one.
            StoppedError: this process was told to stop.
        """
        self._look()
        request = {
            "kind": kind,
            "bundles": [model.bundle for model in models],
            "photos": [str(path) for path in self.sample],
            "machine": {"device": self.machine.device, "precision": self.machine.precision},
            "threads": self.machine.threads,
            "settings": asdict(self.settings),
            **more,
        }
        threads = str(self.machine.threads)
        variables = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        # -P: no module from the folder the user is in. The last place to look is where this very package is.
        command = [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])]
        with (
            tempfile.TemporaryFile() as talk,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=talk,
                env=variables,
                text=True,
                start_new_session=True,  # Ctrl-C comes to this process, and it decides
            ) as process,
        ):
            try:
                return self._listen(process, request, lambda: _last_line(talk))
            finally:
                process.kill()

    def _look(self) -> None:
        if self.stop.by_signal:
            raise self.stop.error("costs are not measured", "run the command again")

    def _listen(
        self, process: subprocess.Popen[str], request: Mapping[str, Any], complaint: Callable[[], str]
    ) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()  # it stays open: its end tells the child of ours
        except BrokenPipeError:
            pass  # it died at once: its output ends, too
        at = 0
        for line in process.stdout:
            self._look()
            told = json.loads(line)
            if "result" in told:
                result: dict[str, Any] = told["result"]
                return result
            at = told["at"]
            self.task.advance()
        code = process.wait()
        why = complaint() if code >= 0 else ""
        raise _DiedError(at, f"died ({how_it_ended(code, _WHY)}{f': {why}' if why else ''})")


def _last_line(talk: Any) -> str:
    """What the process said last, of its traceback say."""
    size = talk.seek(0, os.SEEK_END)
    talk.seek(max(0, size - 4096))
    lines = talk.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def _failure(what: str) -> dict[str, object]:
    return Notice(id="COST", severity="warning", text=what, hint="run the command again").record()


def _with_samples(model: ModelCost, samples: Mapping[str, Any] | None, error: Any) -> ModelCost:
    """The figures of one model's samples, or why there are none."""
    if error is not None or samples is None or samples["error"] is not None:
        reason = error or _failure(f"it cannot be measured ({'' if samples is None else samples['error']})")
        return replace(model, error=reason)
    return replace(
        model,
        latency=timing_of(samples["latency"]),
        photo=timing_of(samples["photo"]),
        throughput=throughput_of(samples["batches"], samples["batch"], samples["tried"], samples["stopped"]),
    )
