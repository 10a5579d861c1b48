"""What an export holds beside runs and data, for whoever opens it: a README, the report page, pictures. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark import __version__
from benchmark.core.words import count
from benchmark.data.datasets import rank
from benchmark.report.facts import method_title
from benchmark.report.grid import Setting, commits_of, group_settings
from benchmark.report.html import build
from benchmark.report.html.page import ALL_KINDS, parts_of
from benchmark.report.html.sections import decision_effects
from benchmark.report.plots import canvas, kinds
from benchmark.runs.store import StoredRun

README, PAGE, PLOTS = "README.md", "report.html", "plots"


@canvas.rare_collections()
def supplement(
    runs: Sequence[StoredRun], tables: Sequence[str], *, pictures: bool = True
) -> dict[str, bytes]:
    """Path in the archive -> content. The page has no review texts; without matplotlib there are no pictures.

    `tables`: names of those that the archive holds."""
    settings = group_settings(runs)
    parts = parts_of(settings)
    drawn = pictures and canvas.available()
    files: dict[str, bytes] = {}
    if parts:
        files[PAGE] = build(runs, plots=ALL_KINDS if drawn else ()).encode()
    if parts and drawn:
        files |= _pictures(parts[0], settings)
    files[README] = _readme(runs, settings, tables, list(files)).encode()
    return files


def _pictures(part: Sequence[Setting], settings: Sequence[Setting]) -> dict[str, bytes]:
    """Every kind of picture that the report's first part shows, as SVG."""
    subject = kinds.Subject(tuple(part), tuple(decision_effects(settings)))
    drawn = {name: make(subject) for name, make in kinds.KINDS.items()}
    return {
        f"{PLOTS}/{name}.svg": canvas.to_bytes(picture, "svg")
        for name, picture in drawn.items()
        if picture is not None
    }


def _readme(
    runs: Sequence[StoredRun],
    settings: Sequence[Setting],
    tables: Sequence[str],
    files: Sequence[str],
) -> str:
    first = runs[0]
    commit = next((name for name in commits_of(runs) if not name.startswith("version ")), "")
    datasets = sorted({run.spec.dataset for run in runs}, key=rank)
    pictures = sorted(name for name in files if name.startswith(f"{PLOTS}/"))
    titles = dict.fromkeys(method_title(run.spec.method) for run in runs)
    lines = [
        "# Finished runs of mrhp-bench",
        "",
        f"{count(len(runs), 'run')} of {count(len(titles), 'method')} ({', '.join(titles)}) for multimodal review "
        "helpfulness prediction: what each predicted for every review of the test split, what follows from that, and "
        "where it came from. It holds neither weights nor texts of reviews.",
        "",
        *(
            f"- {setting.data_set.title}: {setting.conditions}, {count(len(setting.runs), 'run')}"
            for setting in settings
        ),
        "",
        "## What is in it",
        "",
        *_listed(
            {
                PAGE: "the report: open it in a browser; it loads nothing",
                ", ".join(f"`tables/{name}`" for name in tables): "the tables, in Markdown",
                f"{PLOTS}/": f"the report's pictures as SVG: {', '.join(Path(name).stem for name in pictures)}",
            },
            (PAGE in files, bool(tables), bool(pictures)),
        ),
        "- `runs/<data set>/<category>/<method>/seed-.../`: per run its configuration (`config.json`), where and with "
        "what it was made (`meta.json`), its epochs (`log.jsonl`) and its score for every test review (`scores.npy`: "
        "float32, in the order of the category's `test.csv`; `numpy.load` reads it. Of many reviews it is "
        "`scores.planes.npy`, smaller: `numpy.load(file).T.copy().view('<f4')[:, 0]`)",
        "- `data/`: of each category the counts and the fingerprint, and the test split's reviews with their labels; "
        "no texts",
        "- scores and metrics as tables, or in TREC's formats: `bench export --format csv` or `trec`, of a results "
        "folder",
        "- `index.json`: every file of this archive with its SHA-256; a reader refuses one that was changed",
        "",
        "## How to remake the tables",
        "",
        "Install mrhp-bench"
        + (f" from commit {commit.removesuffix('+changes')}" if commit else f" {__version__}")
        + ". Then, where FILE.zip is this archive:",
        "",
        "```sh",
        *(f"bench table {name} --from FILE.zip" for name in datasets),
        "bench table --statistics --with-paper --from FILE.zip",
        *(f"bench table --ablation{_whose(name)} --from FILE.zip" for name in tables if "ablation" in name),
        "bench stats --from FILE.zip",
        "bench report --from FILE.zip --out report.html",
        "```",
        "",
        "Each run is checked first: its metrics are computed again from its scores. What made a run stands in its "
        f"`meta.json`; `bench show {first.id[:12]} --results FOLDER` shows one of the unpacked archive.",
    ]
    return "\n".join(lines) + "\n"


def _whose(table: str) -> str:
    """The option that names another method than the proposed one, of `ablation-NAME.md`."""
    name = table.removeprefix("ablation").removeprefix("-").removesuffix(".md")
    return f" --proposed {name}" if name else ""


def _listed(what: Mapping[str, str], present: Sequence[bool]) -> list[str]:
    return [
        f"- {name if '`' in name else f'`{name}`'}: {meaning}"
        for (name, meaning), there in zip(what.items(), present, strict=True)
        if there
    ]
