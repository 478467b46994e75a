"""Write the README's table of models from the registry: ``python docs/models_table.py``. A test holds the README to it."""

from __future__ import annotations

from pathlib import Path

from ectype import registry

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- models -->", "<!-- /models -->"
ALL = {"table", "images", "signals"}
LIKELIHOOD = {"exact": "exact (discrete columns: lower bound)", "bound": "lower bound"}


def table() -> str:
    """The families and what each can do, in Markdown."""
    heads = ["model", "what it is", "paper", "data", "sample", "condition", "code", "denoise", "impute", "score", "likelihood"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name in registry.names():
        entry, can, takes = registry.entry(name), registry.load(name).capabilities, registry.load(name).containers
        needs = ({"sample"}, {"condition"}, {"encode", "decode"}, {"denoise"}, {"impute"}, {"score"})
        marks = ["all" if takes == ALL else ", ".join(sorted(takes)), *("✓" if needed <= can else "" for needed in needs)]
        called = " or ".join(f"`{n}`" for n in (name, *entry.aliases))
        likelihood = next((text for key, text in LIKELIHOOD.items() if key in can), "")
        lines.append(f"| {' | '.join([called, entry.title, entry.paper, *marks, likelihood])} |")
    return "\n".join(lines)


def insert(text: str) -> str:
    """The README with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(insert(README.read_text()))
