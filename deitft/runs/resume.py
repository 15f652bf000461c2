"""Go on with a run: the same photos, the same plan, the newest good checkpoint; or a list of what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deitft.compute.device import Machine, available_devices, choose, deterministic
from deitft.core.files import write_json, write_text
from deitft.core.progress import StopFlag, catch_stop_signals
from deitft.core.records import RunRecord, parse_csv_text, read_run_record, version_of
from deitft.data.catalog import NONE, TEST, TRAIN, VAL, shown
from deitft.data.source import Source
from deitft.data.splits import held_out_labels, read_splits
from deitft.errors import MissingInputError, Notice, RecipeError, UnavailableError
from deitft.models.build import Classifier, build
from deitft.models.zoo import resolve as resolve_model
from deitft.recipe.load import recipe_yaml
from deitft.recipe.plan import changed_fields, read_plan
from deitft.recipe.plan_types import Plan
from deitft.runs import asked, assemble, measure
from deitft.runs.finish import finished_result
from deitft.runs.folder import RunFolder, newest_unfinished
from deitft.runs.learning import cache_inside
from deitft.runs.prepare import Prepared, write_preparation
from deitft.runs.request import RunResult, TrainRequest
from deitft.runs.session import Session
from deitft.runs.teacher import refuse_other_teachers
from deitft.runs.teacher_named import candidates
from deitft.runs.time_limit import hard_stop
from deitft.runs.train import carry_out, prepare_photos, read_recipe, recorded


def resume_newest(request: TrainRequest) -> RunResult:
    """``--resume``: the newest unfinished run of this verb on this data, if its recipe is the one asked for."""
    run = newest_unfinished(request.runs_dir, request.verb, request.data, request.name)
    return resume(run, request, same_recipe=True)


def resume(
    run: RunFolder, request: TrainRequest, *, same_recipe: bool = False, checkpoint: Path | None = None
) -> RunResult:
    """Go on with a run at its newest good checkpoint, or at exactly the one named.

    ``same_recipe``: the request's own recipe and options must be those of the run.

    Raises:
        RecipeError: data or recipe are not those of the run, field by field (id C12).
        DataError: no usable checkpoint (id C4).
        UnavailableError: the device it trained on is not here (id DEVICE); name another with ``--device``.
    """
    record = read_run_record(run.path)
    if record.status == "done":
        request.progress.say(f"{run.name} is finished: nothing to do")
        return finished_result(run, record)
    plan = read_plan(run.plan)
    machine = machine_of(plan, request)
    deterministic(machine.threads)
    stop = StopFlag()
    with catch_stop_signals(stop, request.progress), run.locked(request.progress):
        prepared, changed_photos = photos_of(run, plan, request, machine, stop)
        now_asked = _replanned(plan, prepared, request, machine) if same_recipe else plan
        differences = {**_recipe_changes(plan, now_asked), **changed_photos}
        refuse_changes(differences, request.allow_changed)
        plan = replace(
            now_asked,
            data_fingerprint=prepared.catalog.fingerprint,
            photos=prepared.counts(),
            train_counts=prepared.train_counts(),
            unlabelled=prepared.unlabelled,
            device=machine.device,
            threads=machine.threads,
            workers=machine.workers,
        )
        if differences:
            record.allowed_changes.extend(f"{name}: {text}" for name, text in differences.items())
            write_json(run.plan, plan.record())
            write_preparation(prepared, run.path)
            if same_recipe:
                write_text(run.recipe, recipe_yaml(read_recipe(request)))
        session = _session(run, request, _reopened(record), plan, prepared, machine, stop)
        _tell_versions(session)
        with recorded(session.record, run):
            session.record.write(run.path)
            return carry_out(session, resume=True, checkpoint=checkpoint)


def _session(
    run: RunFolder,
    request: TrainRequest,
    record: RunRecord,
    plan: Plan,
    prepared: Prepared,
    machine: Machine,
    stop: StopFlag,
) -> Session:
    """The run once more at work; a time limit is that of this command alone."""
    classifier, ends = empty_classifier(plan), None
    if request.time_limit is not None:
        looks = measure.look_seconds(classifier, plan, prepared, request.progress, stop)
        ends = hard_stop(request, plan, looks)
    if request.teacher_cache is None:
        inside = cache_inside(run.path, plan, prepared.photos(TRAIN), request.progress)
        request = replace(request, teacher_cache=inside)
    return Session(
        request=request,
        folder=run,
        record=record,
        plan=plan,
        prepared=prepared,
        machine=machine,
        classifier=classifier,
        stop=stop,
        hard_stop=ends,
        resumed=True,
    )


def request_of(run: RunFolder, record: RunRecord, plan: Plan, **changes: Any) -> TrainRequest:
    """What a run was asked for, as its folder says; ``changes`` are asked for now."""
    options: Mapping[str, Any] = record.options
    cache = options.get("teacher_cache")
    kept: dict[str, Any] = {
        name: bool(options.get(name, name == "probe"))
        for name in ("strict", "skip_bad", "allow_leak", "probe", "unlabelled")
    }
    changes["log_to"] = changes.get("log_to") or tuple(options.get("log_to") or ())
    return TrainRequest(
        verb=record.verb,
        data=Source.read(record.data.get("source"), plan.data),
        seed=plan.seed,
        runs_dir=run.path.parent,
        name=run.name,
        max_pixels=asked.pixels(options.get("max_pixels")),
        **{"teacher_cache": Path(str(cache)) if cache else None, **kept, **changes},
    )


def _tell_versions(session: Session) -> None:
    """Other versions may round differently: said, not refused."""
    known: Any = session.record.environment.get("versions") or {}
    changed = [f"{name} {old} -> {version_of(name)}" for name, old in known.items() if version_of(name) != old]
    if changed:
        text = f"this run began with other versions: {', '.join(changed)}"
        hint = "it goes on; the same bits as without the stop are not to be expected"
        session.request.progress.warn(Notice(id="C12", severity="warning", text=text, hint=hint))
        session.record.allowed_changes.extend(changed)


def machine_of(plan: Plan, request: TrainRequest) -> Machine:
    """What the run computed on before, where nothing else is asked for."""
    if request.device == "auto" and plan.device not in available_devices():
        raise UnavailableError(
            f"the run trained on {plan.device}, which is not on this machine",
            "go on with --device cpu",
            id="DEVICE",
        )
    return choose(
        plan.device if request.device == "auto" else request.device,
        threads=request.threads or plan.threads,
        workers=plan.workers if request.workers is None else request.workers,
        precision=request.precision or plan.precision,
        among=request.group.of.local_world,
    )


def empty_classifier(plan: Plan) -> Classifier:
    """The plan's model with no weights in: the checkpoint brings them."""
    classifier = build(
        resolve_model(plan.model).timm_name,
        num_classes=len(plan.classes),
        image_size=plan.preprocessing.size,
        drop_path=plan.drop_path,
        seed=plan.seed,
    )
    classifier.freeze(plan.trainable)
    return classifier


def _reopened(record: RunRecord) -> RunRecord:
    record.status, record.ended = "running", None
    return record


def photos_of(
    run: RunFolder, plan: Plan, request: TrainRequest, machine: Machine, stop: StopFlag
) -> tuple[Prepared, dict[str, str]]:
    """The photos of today, and how they differ from those of the run (empty where they do not)."""
    data = request.data
    if not all(path.exists() for path in data.places):
        what = f"the photos of {run.name} are not in {shown(plan.data)} any more"
        raise MissingInputError(what, "put them back there, or a link to where they are now", id="D1")
    stored = parse_csv_text(run.splits.read_bytes().decode())
    classes = plan.classes if request.unlabelled else None
    today = prepare_photos(replace(request, seed=plan.seed, splits=None), machine.threads, stop, classes)
    if request.unlabelled:
        today = replace(today, catalog=held_out_labels(run.splits, today.catalog))
    if today.catalog.classes != plan.classes:
        raise RecipeError(
            f"this is not the run you saved — classes: {_difference(plan.classes, today.catalog.classes)}",
            "restore them, or start a new run",
            id="C12",
        )
    now = {str(row["path"]): row for row in today.splits.table(today.catalog)}
    before = {row["path"]: row for row in stored}
    added, gone = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
    changed = sorted(
        path for path in now.keys() & before.keys() if str(now[path]["sha256"]) != before[path]["sha256"]
    )
    relabelled = sorted(
        path for path in now.keys() & before.keys() if str(now[path]["label"]) != before[path]["label"]
    )
    kinds = (("changed", changed), ("added", added), ("gone", gone), ("relabelled", relabelled))
    parts = [f"{len(paths)} {word} ({shown(paths[0])})" for word, paths in kinds if paths]
    if not parts:
        return prepare_pinned(today, run, labelled=not request.unlabelled), {}
    return _as_before(today, stored), {"data": "photos " + ", ".join(parts)}


def prepare_pinned(prepared: Prepared, run: RunFolder, *, labelled: bool = True) -> Prepared:
    """The same photos with the run's own splits: a later version's rule must not move them."""
    return replace(prepared, splits=read_splits(run.splits, prepared.catalog, labelled=labelled))


def _as_before(today: Prepared, stored: Sequence[Mapping[str, str]]) -> Prepared:
    """Photos of the run stay on their side, whatever they are called now; only new ones are assigned.

    A test photo that moved into train would flatter every figure that comes after.
    """
    sides = {"": NONE, "train": TRAIN, "val": VAL, "test": TEST}
    before = {row["sha256"]: sides[row["split"]] for row in stored}
    split = today.splits.split.copy()
    for row, digest in enumerate(today.catalog.digests):
        split[row] = before.get(digest.hex(), split[row])
    return replace(today, splits=replace(today.splits, split=split, note="photos of the run as they were"))


def _difference(before: Sequence[str], after: Sequence[str]) -> str:
    gone = [f'"{name}" is gone' for name in before if name not in after]
    new = [f'"{name}" is new' for name in after if name not in before]
    return ", ".join([*gone, *new]) or "their order"


def _replanned(plan: Plan, prepared: Prepared, request: TrainRequest, machine: Machine) -> Plan:
    """The plan that the request would give today, on the run's machine settings."""
    recipe = read_recipe(request)
    choice, source = assemble.choose_weights(recipe, request)
    if recipe.distill.kind != "none":
        refuse_other_teachers(plan, candidates(request))
    teachers = plan.distill.teachers if plan.distill is not None else ()
    facts = assemble.facts_of(prepared, request, machine, choice, source, teachers=teachers)
    again = assemble.make_plan(recipe, facts, request, max_steps=plan.asked.get("max_steps"))
    return replace(again, probe_photos=plan.probe_photos)  # how fast the machine was is not asked again


def _recipe_changes(before: Plan, after: Plan) -> dict[str, str]:
    skipped = ("data_fingerprint", "photos", "train_counts", "unlabelled")
    return {
        name: f"{_short(old)} -> {_short(new)}"
        for name, (old, new) in changed_fields(before, after).items()
        if name.split(".", 1)[0] not in skipped
    }


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse_changes(differences: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Refuse what differs and is not allowed to.

    Raises:
        RecipeError: every such difference in one line (id C12).
    """
    refused = {
        name: text
        for name, text in differences.items()
        if name not in allowed and name.rsplit(".", 1)[-1] not in allowed
    }
    if refused:
        listed = "; ".join(f"{name}: {text}" for name, text in refused.items())
        names = ",".join(name.rsplit(".", 1)[-1] for name in refused)
        raise RecipeError(
            f"this is not the run you saved — {listed}",
            f"repeat the old settings, or --allow-changed {names}",
            id="C12",
            details={"changes": dict(refused)},
        )
