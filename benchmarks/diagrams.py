"""Draw the diagrams of docs/explanation/architecture.md: `python -m benchmarks.diagrams`."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
WIDTH, BOX, LINE, GAP = 460, 190, 17, 18  # of the picture, a box, a line of text, an arrow; pixels
DATA_FLOW = {
    "data set": "its table: path, label, patient, source",
    "split": "each patient in one of train, val, test",
    "cache": "grey images of one size, uint8, in a memory-mapped file",
    "batch": "image (B, 1, S, S) uint8, class, row",
    "augmentation": "of train images; seeded by epoch and row",
    "network": "logits (B, classes)",
    "views": "mean over the image, its mirror image, scales",
    "decision": "probability against the operating point",
    "scores": "with intervals over patients",
    "run folder": "metrics.json, predictions.csv, best.ckpt",
    "report, evaluate, predict": "tables, pages, CSV",
}
PACKAGES = {  # from the top: a package imports those below its line
    "__main__ api": "pneumo VERB; the commands as functions",
    "audit calibrate download evaluate export heatmap predict train": "the commands",
    "auditing": "what a score on a data set is worth",
    "baselines": "what a network must beat",
    "training": "a run from settings to run folder; sweeps",
    "gallery": "the most confident errors of a run",
    "shift": "how other images differ from a run's own",
    "report": "tables, pictures and pages over run folders",
    "inference": "predictions, flags, heat maps, export",
    "runs": "reads and writes run folders",
    "data evaluation models": "images to batches; metrics and intervals; networks",
    "arguments": "arguments and help of each command",
    "cli": "start, parser, messages",
    "atomic choices labels untrusted": "what all share",
}
STYLE = (
    "text{font:13px sans-serif;fill:#222}.b{font-weight:600}rect{fill:#e8eaf6;stroke:#5c6bc0}"
    "path{stroke:#888;fill:none}@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#2b2f45}}"
)


def drawn(rows: Mapping[str, str], title: str) -> str:
    """Returns an SVG picture: a box for each row, its caption beside it, arrows downwards."""
    parts, top = [], 1
    for place, (names, caption) in enumerate(rows.items()):
        left, right = textwrap.wrap(names, 24), textwrap.wrap(caption, 36)
        height = LINE * max(len(left), len(right)) + 12
        if place:
            x = BOX // 2
            parts.append(f'<path d="M{x} {top}v{GAP - 2}m-4 -5l4 5l4 -5"/>')
            top += GAP
        parts.append(f'<rect x="1" y="{top}" width="{BOX}" height="{height}" rx="4"/>')
        for x, lines, kind in ((10, left, "b"), (BOX + 14, right, "")):
            first = top + (height - LINE * len(lines)) / 2 + 13
            parts += [
                f'<text class="{kind}" x="{x}" y="{first + LINE * number:g}">{line}</text>'
                for number, line in enumerate(lines)
            ]
        top += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 1}"'
    sizes = f'width="{WIDTH}" height="{top + 1}" role="img"'
    body = "\n".join(parts)
    return f"{head} {sizes}>\n<title>{title}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"


PICTURES = {
    "data-flow.svg": drawn(DATA_FLOW, "From the data set to scores and pages"),
    "packages.svg": drawn(PACKAGES, "Packages, from the commands down to what all share"),
}

if __name__ == "__main__":
    for name, text in PICTURES.items():
        (FIGURES / name).write_text(text)
