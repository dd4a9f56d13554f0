"""``kgvad build-anchors`` and ``kgvad anchors show|compare|plot|export``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.help import App
from kgvad.cli.options import INPUTS, LOOK, MAIN_PATH, OUTPUTS, Dataset, Device, StoreUrl, example

logger = logging.getLogger(__name__)

CONCEPTS = "Concepts"

Bank = Annotated[
    str | None,
    typer.Argument(
        metavar="BANK",
        help="A dataset such as ucf, or an anchor bank (.safetensors). Default: the bank of the configured dataset.",
    ),
]


Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Text encoder: minilm, blip, blip-cls, clip, a plugin's, or a model folder. "
        "Default: blip if available, else minilm.",
        rich_help_panel=INPUTS,
    ),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        help="How the concepts of a category are pooled: balanced, weighted, mean, attention, graph, label. "
        "Default: balanced.",
        rich_help_panel=CONCEPTS,
    ),
]
Language = Annotated[
    str,
    typer.Option(
        help="Languages of labels and aliases, comma-separated, in order of preference.", rich_help_panel=CONCEPTS
    ),
]
Contrast = Annotated[
    bool,
    typer.Option(
        "--contrast",
        help="Keep only the concepts that separate a category from those it is confused with.",
        rich_help_panel=CONCEPTS,
    ),
]
ExplainSelection = Annotated[
    bool,
    typer.Option(
        "--explain-selection",
        help="Log why each concept was kept or dropped; implies --contrast.",
        rich_help_panel=CONCEPTS,
    ),
]
Open = Annotated[
    list[str] | None,
    typer.Option(
        "--open",
        help="Add a category: words, or a Wikidata item such as Q4654740; repeatable.",
        rich_help_panel=CONCEPTS,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="File to write. Default: the dataset's bank in the home folder.",
        dir_okay=False,
        rich_help_panel=OUTPUTS,
    ),
]
IfMissing = Annotated[bool, typer.Option("--if-missing", help="Keep an existing file.", rich_help_panel=OUTPUTS)]


def build_anchors(
    dataset: Dataset = None,
    encoder: Encoder = None,
    store: StoreUrl = None,
    pooling: Pooling = None,
    language: Language = "en",
    contrast: Contrast = False,
    explain_selection: ExplainSelection = False,
    open_: Open = None,
    output: Output = None,
    if_missing: IfMissing = False,
    device: Device = None,
) -> None:
    """Build the anchor bank of a dataset from the knowledge graph, and print its path."""
    from kgvad.console import count_of
    from kgvad.session import Session

    with Session(dataset=dataset, store=store, device=device) as session:
        path = output or session.bank_path
        if if_missing and path.is_file():
            print(path)
            return
        table = session.table()

        from kgvad.files import refuse_inputs
        from kgvad.kg.store.database import database_file

        refuse_inputs({"--output": path}, [session.dataset_ref.path, database_file(session.settings.store)])

        from kgvad.anchors.build import build_bank, few_concepts
        from kgvad.anchors.pooling import DEFAULT_POOLING
        from kgvad.anchors.pooling import pooling as check_pooling

        check_pooling(pooling or DEFAULT_POOLING)
        bank = build_bank(
            table,
            session.graph,
            session.text_encoder(encoder),
            pooling or DEFAULT_POOLING,
            contrast=contrast or explain_selection,
            languages=(*(part.strip() for part in language.split(",") if part.strip()), "mul"),
            log_selection=logger.info if explain_selection else None,
        )
        bank = session.open_bank(bank, open_ or ())
        bank.save(path)
    for category, count in few_concepts(bank):
        logger.warning(
            "%s has %s, and a category needs about ten: add items (kgvad kg resolve NAME) and cues to its "
            "table (kgvad datasets init writes one)",
            category,
            count_of(count, "concept"),
        )
    logger.info(
        "%d categories, %d concepts, text encoder %s, facts read %s",
        len(bank.categories),
        len(bank.concepts),
        bank.encoder.name,
        bank.facts_date[:10] or "from the category table only",
    )
    print(path)


def show(bank: Bank = None) -> None:
    """Show how an anchor bank was built, and its concepts by category."""
    from kgvad.session import Session

    session = Session()
    session.bank_file(bank)

    from kgvad.anchors.describe import describe

    print(describe(session.load_bank(bank)), end="")


First = Annotated[str, typer.Argument(metavar="BANK", help="A dataset, or an anchor bank (.safetensors).")]
Second = Annotated[str, typer.Argument(metavar="BANK", help="The bank to compare it with.")]


def compare(
    first: First,
    second: Second,
) -> None:
    """Show how two anchor banks differ: encoders, categories, concepts, and the cosine of each pair of anchors."""
    from kgvad.session import Session

    session = Session()
    session.bank_file(first), session.bank_file(second)

    from kgvad.anchors.describe import differences

    print(differences(session.load_bank(first), session.load_bank(second)), end="")


Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="CSV file to write. Default: stdout.", dir_okay=False),
]


def export(
    bank: Bank = None,
    csv: Csv = None,
) -> None:
    """Export the concepts of an anchor bank with prompts, weights and sources as CSV."""
    from kgvad.files import refuse_inputs, write_text
    from kgvad.session import Session

    session = Session()
    refuse_inputs({"--csv": csv}, [session.bank_file(bank)])

    from kgvad.anchors.describe import as_csv

    text = as_csv(session.load_bank(bank))
    if csv is None:
        print(text, end="")
    else:
        write_text(csv, text)
        print(csv)


PlotOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="SVG or PNG file to write. Default: an SVG file next to the bank."),
]


def plot(
    bank: Bank = None,
    output: PlotOutput = None,
) -> None:
    """Draw the similarity of the anchors, and a map of anchors and concepts; print the path of the picture."""
    from kgvad.errors import UsageError
    from kgvad.files import refuse_inputs, write_bytes
    from kgvad.session import Session

    session = Session()
    source = session.bank_file(bank)
    path = output or source.with_suffix(".svg")
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"--output {path} is neither SVG nor PNG", "end it with .svg or .png")
    refuse_inputs({"--output": path}, [source])

    from kgvad.anchors.plot import image

    write_bytes(path, image(session.load_bank(bank), "png" if path.suffix.lower() == ".png" else "svg"))
    print(path)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=MAIN_PATH, epilog=example("kgvad build-anchors --dataset ucf"))(build_anchors)
    group = App(help="Inspect anchor banks.")
    group.command(epilog=example("kgvad anchors show ucf"))(show)
    group.command(epilog=example("kgvad anchors compare ucf mine.safetensors"))(compare)
    group.command(epilog=example("kgvad anchors plot ucf --output anchors.svg"))(plot)
    group.command(epilog=example("kgvad anchors export ucf --csv concepts.csv"))(export)
    app.add_typer(group, name="anchors", rich_help_panel=LOOK)
