"""plan -> run folder -> fit -> evaluate -> bundle -> report: one RunRecord. What every verb that trains does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deitft.compute.device import Machine, choose, deterministic
from deitft.core.files import sha256_file, write_json, write_text
from deitft.core.progress import StopFlag, catch_stop_signals
from deitft.core.records import RunRecord, command_line, environment, now
from deitft.core.units import parse_length
from deitft.data.catalog import TRAIN
from deitft.data.transforms import check_albumentations
from deitft.errors import DeitftError, StoppedError
from deitft.models.build import Classifier
from deitft.models.weights import LoadReport
from deitft.models.zoo import resolve as resolve_model
from deitft.recipe.facts import Facts
from deitft.recipe.load import load_recipe, recipe_yaml
from deitft.recipe.plan_types import Plan
from deitft.recipe.schema import Recipe
from deitft.runs import assemble, folder, measure, plan_text
from deitft.runs.adapting import first_runs
from deitft.runs.finish import finish
from deitft.runs.fitting import fit_session
from deitft.runs.folder import RunFolder
from deitft.runs.frozen_probe import is_probed, probe_start, to_look_at
from deitft.runs.judge import Ending
from deitft.runs.learning import check_cache
from deitft.runs.prepare import Prepared, prepare, write_preparation
from deitft.runs.request import KEPT_OPTIONS, RunResult, TrainRequest
from deitft.runs.session import Session, elapsed
from deitft.runs.teacher import teachers_for, tell_unprobed, warn_if_weak
from deitft.runs.teacher_named import candidates
from deitft.runs.teaching_costs import ways_of
from deitft.runs.time_limit import fitted, hard_stop
from deitft.runs.together import check_shares, share_out
from deitft.runs.unlabelled import answered, classes_of
from deitft.training.checkpoint import Keeper, newest_good, open_checkpoint, restore
from deitft.training.commit import clear_leftovers
from deitft.training.log import check_loggers
from deitft.training.state import TrainState, new_state


def train(request: TrainRequest) -> RunResult:
    """Start a run and see it through.

    The order is that of cost: recipe, weights and place are checked before a photo is opened.

    Raises:
        DeitftError: everything a user can meet; the run folder's ``run.json`` holds the same.
        StoppedError: stopped by a signal, state saved; ``--resume`` goes on.
    """
    recipe = read_recipe(request)
    choice, source = assemble.choose_weights(recipe, request)
    named = candidates(request)
    classes = classes_of(request, named)
    _check_places(request)
    machine = _machine(request, recipe)
    stop = StopFlag()
    with catch_stop_signals(stop, request.progress):
        if choice.note:
            request.progress.say(choice.note)
        prepared = prepare_photos(request, machine.threads, stop, classes)
        size = recipe.distill.teacher_size
        teachers = teachers_for(request, named, prepared, machine, stop, size)
        facts = assemble.facts_of(prepared, request, machine, choice, source, teachers=teachers)
        # a first plan, at any speed, says which steps to measure
        pace = _any_pace(recipe) if lasts_by_the_clock(recipe) else None
        plan = assemble.make_plan(recipe, replace(facts, seconds_per_image=pace), request)
        check_cache(plan, prepared.photos(TRAIN), request.teacher_cache)
        begun = assemble.start(choice, source, plan)
        assemble.tell_load(begun.report, request.progress)
        check_shares(plan, begun.classifier, request.group)
        so_far = elapsed(request)
        plan, costs = _measured(recipe, facts, plan, begun.classifier, prepared, stop, request)
        if request.dry_run and costs is not None:
            probe = to_look_at(plan, prepared, begun.classifier.body_sha256(), request)
            so_far = so_far if request.time_limit is None else elapsed(request)  # else the run does not measure
            outlook = measure.forecast(plan, costs, facts.parameters, elapsed=so_far, probe_photos=probe)
            first = first_runs(request, named, teachers, prepared, machine, stop, size)
            return plan_text.planned(plan, costs, outlook, request, first)
        for line in (plan_text.one_line(plan), plan_text.views_again(plan)):
            if line:
                request.progress.say(line)
        if stop.by_signal:
            raise stop.error("before the first step", "nothing was written; run the same command again")
        run = folder.create(request.runs_dir, request.verb, request.name)
        session = Session(
            request=request,
            folder=run,
            record=_new_record(request, run, plan, prepared, begun.report),
            plan=plan,
            prepared=prepared,
            machine=machine,
            classifier=begun.classifier,
            stop=stop,
            hard_stop=hard_stop(request, plan, costs.photo_seconds if costs else 0.0),
        )
        with run.locked(request.progress), recorded(session.record, run):
            write_text(run.recipe, recipe_yaml(recipe))
            write_json(run.plan, plan.record())
            write_preparation(prepared, run.path)
            session.record.write(run.path)
            return carry_out(session)


def _check_places(request: TrainRequest) -> None:
    """Prove that what the request names beside the photos can be used, before a photo is opened."""
    check_loggers(request.log_to)
    folder.check_place(request.runs_dir, request.name, request.data)
    if request.teacher_cache is not None:
        folder.check_outside(request.teacher_cache, request.data, "teacher's cache", "--teacher-cache")


def _machine(request: TrainRequest, recipe: Recipe) -> Machine:
    """What the request computes on, set up to give the same bits each time."""
    machine = choose(
        request.device,
        threads=request.threads,
        workers=request.workers,
        precision=request.precision or recipe.train.precision,
        among=request.group.of.local_world,
    )
    deterministic(machine.threads)
    return machine


def _measured(
    recipe: Recipe,
    facts: Facts,
    plan: Plan,
    classifier: Classifier,
    prepared: Prepared,
    stop: StopFlag,
    request: TrainRequest,
) -> tuple[Plan, measure.Costs | None]:
    """(the plan, what its steps cost): measured where a length or a limit in time, or the user, asks for it."""
    by_the_clock = lasts_by_the_clock(recipe)
    if not (request.dry_run or request.time_limit is not None or by_the_clock):
        return plan, None
    costs = measure.measure(
        classifier,
        plan,
        prepared,
        request.progress,
        stop,
        limit=request.time_limit,
        ways=ways_of(request),
        cache=request.teacher_cache,
        group=request.group,
    )
    if by_the_clock:
        facts = replace(facts, seconds_per_image=max(costs.step_seconds.values()) / plan.batch)
        plan = assemble.make_plan(recipe, facts, request)
    if request.time_limit is not None:
        plan = fitted(recipe, facts, plan, classifier, prepared, costs, request)
    return plan, costs


def read_recipe(request: TrainRequest) -> Recipe:
    """The recipe a request asks for, every mistake in it in one error.

    Raises:
        RecipeError: all mistakes at once.
    """
    overrides = (*request.set, *_distill_overrides(request))

    def beyond_the_form(data: Mapping[str, Any]) -> list[str]:
        return _beyond_the_form(data, model=request.model is None)

    recipe = load_recipe(request.recipe, overrides=overrides, check=beyond_the_form)
    if not request.probe and recipe.model.head_start == "auto":
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"head_start": "random"})})
    if request.model is not None:
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": request.model})})
    return recipe


def _beyond_the_form(data: Mapping[str, Any], *, model: bool) -> list[str]:
    """Mistakes in a recipe that its form does not show: transforms, and a ``model``, that are not there."""
    augment, named = data.get("augment"), data.get("model")
    listed = augment.get("albumentations") if isinstance(augment, Mapping) else None
    name = named.get("name") if isinstance(named, Mapping) and model else None
    good = isinstance(listed, list) and all(isinstance(one, Mapping) for one in listed)
    mistakes = check_albumentations(listed) if listed and good else []
    if isinstance(name, str):
        try:
            resolve_model(name)
        except DeitftError as error:
            mistakes.append(f"model.name: {error.what}, {error.hint}")
    return mistakes


def _distill_overrides(request: TrainRequest) -> tuple[str, ...]:
    """``--distill``, and a ``--teacher`` alone, as recipe fields; ``--set distill.kind=…`` wins over it."""
    views = () if request.cache_views is None else (f"distill.cache_views={request.cache_views}",)
    if request.distill is not None:
        return (f"distill.kind={request.distill}", *views)
    asked = any(text.partition("=")[0].strip() == "distill.kind" for text in request.set)
    return ("distill.kind=hard", *views) if request.teacher and not asked else views


def lasts_by_the_clock(recipe: Recipe) -> bool:
    """Whether a length of the recipe is a time: how many steps that is must be measured first."""
    lengths = (recipe.train.length, recipe.train.validate_every, recipe.optim.warmup)
    return any(text != "auto" and parse_length(text, least=0).unit == "seconds" for text in lengths)


def _any_pace(recipe: Recipe) -> float:
    """Seconds an image for a plan before anything is measured: the length must have room for the warm-up, of which
    either may be a time."""
    length = recipe.train.length
    return 1e-4 if length != "auto" and parse_length(length, least=0).unit == "seconds" else 1.0


def prepare_photos(
    request: TrainRequest, processes: int, stop: StopFlag, classes: tuple[str, ...] | None = None
) -> Prepared:
    """The request's photos, ready to train. ``classes``: a teacher's, where the photos have no labels."""
    return prepare(
        request.data,
        seed=request.seed,
        workers=processes,
        progress=request.progress,
        stop=stop,
        splits_file=request.splits,
        strict=request.strict,
        skip_bad=request.skip_bad,
        allow_leak=request.allow_leak,
        classes=classes,
    )


def carry_out(session: Session, *, resume: bool = False, checkpoint: Path | None = None) -> RunResult:
    """Train to the end of the plan, then evaluate, bundle and report. Safe to kill at any line."""
    plan, request, run = session.plan, session.request, session.folder
    began = time.perf_counter()
    place(session.classifier, plan)
    session = answered(session)
    state = _go_on(session, checkpoint) if resume else _begin(session)
    share_out(session, state)
    keeper = Keeper(
        run.checkpoints,
        every_seconds=plan.save_every_seconds,
        keep=plan.keep_checkpoints,
        progress=request.progress,
        facts={"plan": sha256_file(run.plan)},
    )
    outcome = fit_session(session, state, keeper)
    spent = session.record.seconds
    spent["training"] = spent.get("training", 0.0) + time.perf_counter() - began
    spent["saving"] = spent.get("saving", 0.0) + keeper.seconds  # a part of "training"
    if outcome.reason == "stopped":
        raise session.stop.error(f"saved step {outcome.step}", f"continue with `deitft resume {run.path}`")
    return finish(session, Ending(state=state, outcome=outcome))


def place(classifier: Classifier, plan: Plan) -> None:
    """The model where and how the plan computes."""
    classifier.to(plan.device)
    if plan.channels_last:
        classifier.to(memory_format=torch.channels_last)
    # On processors torch's fused attention is slower in training than matrix products: docs/decisions/0005;
    # benchmarks/attention_kernel.py measures it.
    classifier.set_fused_attention(not plan.device.startswith("cpu"))


def _begin(session: Session) -> TrainState:
    """The state before the first step. The running average begins with the heads that the probe has put in."""
    _probe(session)
    return new_state(session.plan, session.classifier)


def _go_on(session: Session, checkpoint: Path | None) -> TrainState:
    """The state of a checkpoint: the one named, else the newest good one; without any the run begins again."""
    plan, run, progress = session.plan, session.folder, session.request.progress
    if checkpoint is None and not any(run.checkpoints.glob("step-*")):
        clear_leftovers(run.checkpoints)
        progress.say(f"{run.name} has no checkpoint yet: it begins again")
        _start_again(session)
        return _begin(session)
    state = new_state(plan, session.classifier)
    restore(state, open_checkpoint(checkpoint, progress) if checkpoint else newest_good(run.checkpoints, progress))
    epoch, where = divmod(state.step, plan.steps_per_epoch)
    progress.say(f"resuming {run.name}: epoch {epoch}, step {where} of {plan.steps_per_epoch}")
    return state


def _start_again(session: Session) -> None:
    """A run that left no checkpoint begins with its starting weights, which must still be there."""
    plan, request = session.plan, session.request
    source = assemble.source_of(plan, request)
    begun = assemble.start(resolve_model(plan.model), source, plan)
    session.classifier.load_state_dict(begun.classifier.state_dict())


def _probe(session: Session) -> None:
    """Solve the heads on the frozen features: the baseline beside the run, and the start if the plan says so."""
    if is_probed(session.plan, session.request):
        found = probe_start(session)
        write_json(session.folder.path / "probe.json", found)
        warn_if_weak(session.plan, found, session.request)
    else:
        tell_unprobed(session.plan, session.request)


def _new_record(
    request: TrainRequest, run: RunFolder, plan: Plan, prepared: Prepared, loaded: LoadReport
) -> RunRecord:
    return RunRecord(
        name=run.name,
        verb=request.verb,
        command=command_line() or request.as_command(),
        status="running",
        started=now(),
        model=plan.short_name or plan.model,
        recipe=plan.recipe,
        seed=plan.seed,
        data={
            "path": plan.data,
            "source": request.data.resolve().record(),
            "fingerprint": plan.data_fingerprint,
            "photos": dict(plan.photos),
        },
        environment=environment(),
        findings=prepared.notices(),
        options={name: getattr(request, name) for name in KEPT_OPTIONS},
        weights=loaded.record(),
    )


@contextlib.contextmanager
def recorded(record: RunRecord, run: RunFolder) -> Iterator[None]:
    """Whatever ends the block is in ``run.json``."""
    try:
        yield
    except BaseException as error:
        if record.status == "running":
            resumable = isinstance(error, KeyboardInterrupt | StoppedError)
            record.status = "stopped" if resumable else "failed"
        if isinstance(error, DeitftError):
            record.errors.append(error.record())
        else:
            error.run_folder = run.path  # type: ignore[attr-defined]  # where the traceback is kept
        record.ended = now()
        with contextlib.suppress(OSError):
            record.write(run.path)
        raise
