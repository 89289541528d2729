"""Short report as Markdown, for pasting into a pull request."""

from __future__ import annotations

import re

from harness.language import say
from harness.reporting.formats.content import Content
from harness.reporting.table import Table


def escaped(text: str) -> str:
    """Text that stays text: no markup, no HTML, one line."""
    one_line = " ".join(str(text).split())
    return re.sub(r"([\\`*_|\[\]#!])", r"\\\1", one_line).replace("<", "&lt;").replace(">", "&gt;")


def render(content: Content) -> str:
    r = content.recommendation
    lines = [f"# {escaped(content.run.sweep.name)}", "", escaped(content.summary), ""]
    lines += [f"## {say('Recommendation')}", "", f"**{escaped(r.headline)}**", ""]
    lines += [f"- {escaped(line)}" for line in r.meaning]
    for number in content.key_numbers:
        value = f"{number.value} {number.interval}".strip()
        lines.append(f"- {escaped(number.label)}: {escaped(value)} ({escaped(number.beside)})")
    for step in content.next_steps:
        lines += ["", escaped(step.what), "", *code(step.command)]
    lines += _list(say("Before acting on this"), r.cautions)
    lines += _list(say("Why"), r.reasons)
    lines += _list(say("Why not the others"), [f"{label}: {why}" for label, why in r.runners_up])
    lines += _list(say("What would change it"), r.would_change)
    lines += _table(say("Leader board"), content.leaderboard)
    lines += _table(say("Every score"), content.split_scores)
    lines += _list(say("Could not be measured"), content.missing)
    lines += _table(say("Every two finalists against each other"), content.pairs)
    lines += _table(say("Did the order of the search hold?"), content.stability)
    for title, variants in content.variants:
        lines += _table(title, variants)
    lines += _table(say("Search"), content.budget)
    lines += _table(say("Settings that matter"), content.effects)
    lines += _table(say("Importance of settings"), content.importance)
    lines += _table(say("Cost"), content.cost)
    lines += _table(say("Speed of generation"), content.speed)
    lines += _table(say("Where memory goes"), content.memory)
    for title, table in content.quantization:
        lines += _table(title, table)
    lines += _table(say("What the models know"), content.knowledge.scores)
    for title, lost in content.lost:
        lines += _table(title, lost)
    for title, domain in content.domains:
        lines += _table(say("By domain: {title}", title=title), domain)
    lines += _table(say("Tasks that were not trained for"), content.tasks)
    lines += _table(say("After training"), content.afterwards)
    lines += _table(say("What changed in the weights"), content.updates)
    lines += _table(say("Trials that did not complete"), content.failures)
    lines += _list(say("Data"), content.data.counts)
    lines += _table(say("Overlap"), content.data.overlap)
    lines += _list(say("How it was measured"), content.methodology + content.definitions)
    lines += _list(say("Warnings of the trials"), content.warnings)
    return "\n".join(lines).rstrip() + "\n"


def code(text: str) -> list[str]:
    """Return the lines of a block of shell commands, fenced so that ``text`` cannot end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", text, fence]


def _list(title: str, items) -> list[str]:
    if not items:
        return []
    return ["", f"## {title}", "", *(f"- {escaped(item)}" for item in items)]


def _table(title: str, table: Table) -> list[str]:
    if not table.rows:
        return []
    numbers = [cell.role.startswith("number") for cell in table.rows[0]]
    lines = ["", f"## {escaped(title)}", ""]
    lines.append("| " + " | ".join(escaped(header) for header in table.headers) + " |")
    lines.append("|" + "|".join("--:" if number else "---" for number in numbers) + "|")
    for i, row in enumerate(table.rows):
        cells = [escaped(cell.text) for cell in row]
        if i == table.marked:
            cells = [f"**{cell}**" if cell else cell for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", escaped(table.note)] if table.note else lines
