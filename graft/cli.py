"""The command line: `graft check`, `graft rank`, `graft predict` and `graft record`."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from graft import __version__
from graft.core.errors import GraftError, reported
from graft.core.settings import expected
from graft.transferability.registry import DEFAULT, SCORES

if TYPE_CHECKING:
    from graft.predicting import Prediction, Result

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_INTERRUPTED = 130


class _Commands(click.Group):
    """Commands that answer a fault of the user's with one message, and an interrupt with none."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with reported():
                return super().invoke(context)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="graft", message="%(prog)s %(version)s")
def main() -> None:
    """Transfer learning that says whether it helped, and how sure that is.

    The pipeline itself is run by DVC: `dvc repro`.

    Example: graft check && dvc repro && graft predict photo.png
    """


@main.command()
@click.option(
    "--params",
    "params_file",
    type=_FILE,
    default=Path("params.yaml"),
    show_default=True,
    help="The study to check.",
)
@click.option(
    "--raw",
    type=_FOLDER,
    default=Path("data/raw"),
    show_default=True,
    help="The folder in which your own data lie.",
)
def check(params_file: Path, raw: Path) -> None:
    """Check params.yaml and find the data, before any training.

    Every fault is named, with its line in params.yaml or with the task whose data are at fault,
    and the exit status is then 2. Nothing is decoded or trained: it takes a moment only.

    Example: graft check --params presets/article.yaml
    """
    from graft import params
    from graft.checking import check_data, overview

    given = params.load(params_file)
    check_data(given, raw)
    click.echo(f"{params_file} is right, and the data are in place.\n\n{overview(given)}")


@main.command()
@click.option(
    "--by",
    metavar="SCORE",
    default=DEFAULT,
    show_default=True,
    help=f"The score to rank by: {', '.join(sorted(SCORES))}.",
)
@click.option(
    "--params",
    "params_file",
    type=_FILE,
    default=Path("params.yaml"),
    show_default=True,
    help="The study whose source.candidates are ranked.",
)
@click.option(
    "--metrics",
    type=_FOLDER,
    default=Path("metrics/transfer"),
    show_default=True,
    help="Where the transfer stage wrote its scores.",
)
def rank(by: str, params_file: Path, metrics: Path) -> None:
    """Rank the candidate sources by a score, before anything is fine-tuned.

    `dvc repro transfer` computes the scores from the target's labelled examples; the test split
    has no part in them. Each stands beside what it gives under permuted labels: a source within
    that range has shown nothing.

    Example: dvc repro transfer && graft rank --by logme
    """
    from rich.console import Console

    from graft import params
    from graft.transferability.ranking import read_appraisals
    from graft.transferability.tables import ranking_table

    if by not in SCORES:
        raise GraftError(f"--by: unknown score {by!r}; {expected(by, SCORES)}")
    sources = params.load(params_file).source.candidates
    Console(highlight=False).print(ranking_table(read_appraisals(metrics, sources), by))


@main.command()
@click.argument(
    "paths", metavar="FILE_OR_FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--model",
    type=_FILE,
    default=Path("models/target.keras"),
    show_default=True,
    help="The exported model.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Print one JSON array.")
@click.option("--csv", "csv_wanted", is_flag=True, help="Print CSV with a column for every class.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="How many classes to show per file.  [default: 2 in the table, all in JSON]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 65536),
    default=64,
    show_default=True,
    help="How many images the model sees at a time.",
)
def predict(
    *,
    paths: tuple[Path, ...],
    model: Path,
    json_wanted: bool,
    csv_wanted: bool,
    top: int | None,
    batch_size: int,
) -> None:
    """Name the class of each image, with its probability.

    Folders are searched through for images. Images of another size than the model's are resized
    to it, and turned to grey or colour, as in training. A file that is no image is reported, the
    others are still answered, and the exit status is 2.

    Example: graft predict --csv photos/ > predictions.csv
    """
    if json_wanted and csv_wanted:
        raise click.UsageError("--json and --csv exclude each other; give one of them")
    if csv_wanted and top:
        raise click.UsageError("--csv has a column for every class; leave --top out")
    from graft import prediction_formats as formats
    from graft.predicting import Classifier, find_images

    files = find_images(paths)
    classifier = Classifier(model)
    names = classifier.class_names
    faults: list[str] = []
    with _progress(len(files)) as advance:
        predictions = _answered(classifier.predict(files, batch_size), faults, advance)
        if json_wanted:
            pieces = formats.as_json(predictions, names, top=top)
        elif csv_wanted:
            pieces = formats.as_csv(predictions, names)
        else:
            pieces = formats.as_table(predictions, names, top=top or 2, files=files)
        _write(pieces, sys.stdout)
    if faults:
        raise GraftError(f"{len(faults):,} of {len(files):,} files could not be answered")


@main.command()
def record() -> None:
    """See that every stage of dvc.lock has its run in MLflow.

    `make repro` does it after `dvc repro`. What DVC restored from its cache, or found unchanged,
    is linked to the run that made it; what someone else made gets a run of what dvc.lock and the
    metrics say. Runs that could not be brought to the server are brought there now. Doing it
    twice changes nothing.

    Example: dvc repro && graft record
    """
    from graft.core.tracking.spool import Spool
    from graft.recording.note import is_noted

    spool = Spool.here()
    if is_noted(spool):
        click.echo("dvc.lock is on record.")
        return
    from graft.core.tracking.stage_run import may_be_unreachable
    from graft.recording.locked import record_locked

    try:
        click.echo(str(record_locked(spool)))
    except GraftError as error:
        if spool.database or not may_be_unreachable():
            raise
        print(f"graft: {error}; the runs stay in {spool.folder}", file=sys.stderr)


def _answered(
    results: "Iterable[Result]", faults: list[str], advance: Callable[[int], None]
) -> "Iterator[Prediction]":
    """Pass the predictions on; report the files that have none, and note them in `faults`."""
    for file, result in results:
        advance(1)
        if isinstance(result, GraftError):
            print(f"graft: {result}", file=sys.stderr)
            faults.append(file)
        else:
            yield result


def _progress(total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show a bar, unless the terminal shows the predictions themselves."""
    from graft.core.progress import progress

    return nullcontext(lambda _: None) if sys.stdout.isatty() else progress("predicting", total)


def _write(pieces: Iterable[str], output: TextIO) -> None:
    """Write text as it comes."""
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")  # names of files can be any bytes
    for piece in pieces:
        output.write(piece)
        output.flush()
