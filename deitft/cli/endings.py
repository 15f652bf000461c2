"""How a command ends that does not end well: one line, and an exit code. Also where the verb was mistyped."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from deitft.cli import console
from deitft.compute.rank import rank_here
from deitft.errors import DeitftError, InterruptError, StorageError, UsageError

ENVIRONMENT_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE}
"""What the system may refuse without a mistake of ours."""


def after_interrupt(words: Sequence[str]) -> str:
    """What to do after Ctrl-C with nothing saved."""
    if words and words[0] in ("finetune", "pretrain", "resume") and "--dry-run" not in words:
        return "without saving; if the run had begun, `deitft resume RUN` goes on from its newest checkpoint"
    return ""


def in_plain_words(params: list[Any]) -> list[Any]:
    """The same parameters, whose help names no Python type: nothing for a flag, PATH for files and folders."""
    for param in params:
        if param.param_type_name == "option" and param.is_flag and param.metavar is None:
            param.metavar = ""
        if param.param_type_name == "argument":
            param.display_type_rich = partial(_word_of, param)
    return params


def _word_of(argument: Any, ctx: Any) -> str | None:
    """What is typed for an argument, for typer's "<path>" and "<list[Path]>"; None where its name says it."""
    if "path" not in str(type(argument).display_type_rich(argument, ctx)).lower():
        return None
    return "PATH" if argument.nargs == 1 else "PATH ..."


class Verb(TyperCommand):
    """A verb whose help speaks plainly."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See ``in_plain_words``."""
        return in_plain_words(super().get_params(ctx))


class Verbs(TyperGroup):
    """A group that answers a mistyped verb with the one that was meant."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See ``in_plain_words``."""
        return in_plain_words(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb of ``args``.

        Raises:
            UsageError: there is none of that name (id USAGE).
        """
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known and not ctx.resilient_parsing:
            near = get_close_matches(args[0], known, n=1, cutoff=0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"the verbs are {', '.join(known)}"
            raise UsageError(f'{ctx.command_path} has no verb "{args[0]}"', hint, id="USAGE")
        return super().resolve_command(ctx, args)


class _Program(typer.Typer):
    """An app whose commands are all of ``Verb``."""

    def command(self, name: str | None = None, **more: Any) -> Any:
        """As typer's."""
        return super().command(name, **{"cls": Verb, **more})


def group(help: str, **more: Any) -> typer.Typer:
    """A group of verbs."""
    return _Program(cls=Verbs, help=help, rich_markup_mode="rich", pretty_exceptions_enable=False, **more)


def speaks(error: BaseException | None = None) -> bool:
    """Whether this process talks: of several it is the first, or for an error the one that is left to tell it."""
    try:
        rank = rank_here().rank
    except UsageError:
        return True
    return rank == getattr(error, "spoken_by", 0)


def end(error: Exception) -> int:
    """Say one line about an error, and give its exit code."""
    known = _as_known(error)
    if known is None:
        console.report_bug(error)
        return console.BUG_CODE
    if speaks(known):
        console.talk(console.error_line(known))
    return known.exit_code


def _as_known(error: Exception) -> DeitftError | None:
    """An error with an id: our own, a mistyped command line, or what the system refused; else None, a bug."""
    if isinstance(error, DeitftError):
        return error
    if isinstance(error, typer.Abort):
        return InterruptError("stopped", id="N4")
    if hasattr(error, "format_message"):  # typer's usage errors, whatever library it takes them from
        return _usage(error)
    if isinstance(error, OSError) and error.errno in ENVIRONMENT_ERRNOS:
        where = f": {error.filename}" if error.filename else ""
        return StorageError(f"{(error.strerror or str(error)).lower()}{where}", "see what is wrong there", id="IO")
    return None


def _usage(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "deitft"
    near = get_close_matches(getattr(error, "option_name", ""), getattr(error, "possibilities", None) or (), n=1)
    hint = f"did you mean {near[0]}?" if near else f"see `{path} --help`"
    text = getattr(error, "message", "") if near else error.format_message()
    return UsageError(" ".join(str(text).split()).rstrip("."), hint, id="USAGE")
