"""After the last step: the best weights judged on test, handed over as a bundle, shown in a report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from deitft.bundle.format import save_bundle
from deitft.compute.device import peak_memory
from deitft.core.files import write_json
from deitft.core.records import LIBRARIES, RunRecord, now, version_of
from deitft.models.build import Classifier
from deitft.reporting.card import CardFacts, model_card
from deitft.runs.folder import RunFolder
from deitft.runs.frozen_probe import probe_record
from deitft.runs.judge import Ending, Judged, judge
from deitft.runs.leak_figures import leak_rows, session_leaks
from deitft.runs.request import RunResult
from deitft.runs.run_report import write_run_report
from deitft.runs.session import Session
from deitft.runs.token_figures import TokenFigures, token_figures
from deitft.runs.words import metric_rows
from deitft.training.checkpoint import load_weights


def finish(session: Session, ending: Ending) -> RunResult:
    """Judge, hand over, report; the run's record is "done" after it. Repeating it gives the same files."""
    began = time.perf_counter()
    classifier, run, record = session.classifier, session.folder, session.record
    last = {name: tensor.detach().clone() for name, tensor in classifier.net.state_dict().items()}
    best = ending.outcome.best
    if best is not None:
        load_weights(ending.state.model, run.checkpoints / best.folder)
    judged = judge(session)
    token = token_figures(session, ending, judged)
    _write_figures(session, judged, token)
    for folder, state, which in (
        (run.best, classifier.net.state_dict(), "best on val"),
        (run.last, last, "last step"),
    ):
        _bundle(session, judged, folder.name, state, which)
    record.result = _result(session, ending, judged)
    with session.request.progress.task("writing the report") as task:
        write_run_report(session, ending, judged, token)
        task.advance()
    record.status, record.ended = "done", now()
    record.seconds["evaluation and report"] = time.perf_counter() - began
    record.memory_bytes["peak"] = peak_memory(session.plan.device)
    record.seconds["whole command"] = session.elapsed()
    record.write(run.path)
    return finished_result(run, record)


def _write_figures(session: Session, judged: Judged, token: TokenFigures | None) -> None:
    run, classes = session.folder, session.plan.classes
    for file, found, split in (
        ("predictions.csv", judged.test_predictions, judged.claim_split),
        ("predictions-val.csv", judged.val_predictions, "val"),
    ):
        by_teacher = split in judged.unlabelled
        found.save(run.path / file, classes, temperature=judged.temperature, by_teacher=by_teacher)
    records = {"val": judged.val.record() if judged.val else None, "test": judged.test.record()}
    agreement = {name for name, by in (("val", "val"), ("test", judged.claim_split)) if by in judged.unlabelled}
    write_json(
        run.path / "metrics.json",
        {
            "version": 1,
            "claim_split": judged.claim_split,
            "temperature": judged.temperature,
            **{name: None if name in agreement else record for name, record in records.items()},
            "leaks": session_leaks(session, judged),
            "probe": probe_record(session),
            "token": token.record() if token else None,
            # against the teacher's answers, where nobody has labelled the photos: no accuracy
            **({"agreement": {name: records[name] for name in sorted(agreement)}} if agreement else {}),
        },
    )


def _bundle(session: Session, judged: Judged, name: str, state: Mapping[str, Tensor], which: str) -> None:
    plan = session.plan
    figures = _figures(judged) if name == "best" else {}
    classifier: Classifier = session.classifier
    save_bundle(
        session.folder.path / name,
        classifier=classifier,
        state=state,
        short_name=plan.short_name,
        classes=plan.classes,
        preprocessing=plan.preprocessing,
        temperature=judged.temperature if name == "best" else 1.0,
        starting_weights=plan.weights,
        data={"fingerprint": plan.data_fingerprint, "photos": dict(plan.photos)},
        metrics=figures,
        training={"recipe": plan.recipe, "steps": plan.total_steps, "seed": plan.seed, "which": which},
        card=model_card(_card_facts(session, judged, name)),
    )


def _card_facts(session: Session, judged: Judged, name: str) -> CardFacts:
    plan, best = session.plan, name == "best"
    probe = probe_record(session)
    return CardFacts(
        title=session.folder.name if best else f"{session.folder.name} ({name})",
        model=plan.model,
        classes=plan.classes,
        photos=plan.photos,
        preprocessing=plan.preprocessing.record(),
        short_name=plan.short_name,
        parameters=sum(parameter.numel() for parameter in session.classifier.net.parameters()),
        two_heads=session.classifier.two_heads,
        train_counts=plan.train_counts,
        data_fingerprint=plan.data_fingerprint,
        metrics=judged.test.record() if best else {},
        claim_split=judged.claim_split,
        by_teacher=judged.by_teacher,
        probe_top1=probe.get("top1") if probe else None,
        temperature=judged.temperature if best else 1.0,
        weights=plan.weights,
        command=session.record.command,
        recipe=plan.recipe,
        training={"steps": plan.total_steps, "batch": plan.batch, "seed": plan.seed, "lr": plan.optim.lr},
        versions={library: version_of(library) for library in LIBRARIES},
        created=now(),
    )


def _figures(judged: Judged) -> dict[str, Any]:
    """What a record shows of the claims; below "agreement" where they are none of accuracy."""
    test = judged.test
    names = ("top1", "top5", "macro_f1", "balanced_accuracy", "calibration_error")
    figures = {
        **{name: getattr(test, name) for name in names},
        "intervals": {name: list(ends) for name, ends in test.intervals.items()},
    }
    where = {"split": judged.claim_split, "n": test.n}
    return {**where, "agreement": figures} if judged.by_teacher else {**where, **figures}


def _result(session: Session, ending: Ending, judged: Judged) -> dict[str, object]:
    best = ending.outcome.best
    return {
        **_figures(judged),
        "steps": ending.outcome.step,
        "ended": ending.outcome.reason,
        "best_step": best.step if best else None,
        "best_which": best.which if best else None,
        "val_agreement" if "val" in judged.unlabelled else "val_top1": judged.val.top1 if judged.val else None,
        "temperature": judged.temperature,
        "rows": [
            *metric_rows(judged.test, by_teacher=judged.by_teacher),
            *leak_rows(session_leaks(session, judged)),
        ],
    }


def finished_result(run: RunFolder, record: RunRecord) -> RunResult:
    """What a finished run hands back, now or when it is asked again."""
    rows: Any = record.result.get("rows", [])
    split = record.result.get("split", "test")
    return RunResult(
        folder=run.path,
        status=record.status,
        facts=[
            ("Photos", f"{record.result.get('n')} ({split})"),
            *((str(name), str(text)) for name, text in rows),
            ("Model", str(run.best)),
            ("Report", str(run.report)),
        ],
        values={"run": record.name, "model": record.model, "result": record.result, "report": str(run.report)},
    )
