"""What was measured, as a table and as a page, beside the marks it should reach."""

HEAD = "| what | dormouse | beside | figure | mark | reached | failures |\n|---|---|---|---|---|---|---|"

INTRODUCTION = """# Benchmarks
Written by `scripts/bench`; the same figures, with the spread of the rounds, are in
`benchmarks.json`. `scripts/bench --list` names the rows, `scripts/bench ROW…` runs some of them.

{machine}
Everything that is compared ran in turns in the same run, on the same kind of upstream, with
keep-alive, as many workers as the machine has cores, and the same forwarded headers. CPU time is
the kernel's account of each process with all its threads and workers, so it holds on a busy machine
better than wall-clock figures do; dormouse runs as it ships, with gates, leases, metrics and strict
request checks. Figures are medians of the rounds; in brackets, the smallest and the largest round.
A mark is reached only where nothing failed.

"""


def table(rows):
    return "\n".join([HEAD, *(line(row) for row in rows)])


def line(row):
    own = row.seen.get("dormouse")
    beside = ", ".join(
        f"{who} {shown(one, row.unit)}" for who, one in row.seen.items() if who != "dormouse"
    )
    cells = [
        row.what,
        shown(own, row.unit) + spread(own) if own else "–",
        beside or row.against or "–",
        f"{number(row.figure)} {row.figure_unit}".strip() if row.figure is not None else "–",
        mark(row),
        reached(row),
        failures(row),
    ]
    return "| " + " | ".join(cells) + " |"


def page(rows, taken):
    text = INTRODUCTION.format(machine="\n".join(machine_line(one) for one in taken) + "\n")
    text += table(rows) + "\n\n## Marks that are missed\n"
    missed = [f"- {row.what}: {missed_by(row)}" for row in rows if row.reached() is False]
    text += "\n".join(missed) + "\n" if missed else "None.\n"
    notes = [f"- {row.what}: {row.note}" for row in rows if row.note]
    return text + "\n## Notes\n" + "\n".join(notes) + "\n"


def machine_line(taken):
    rows = ", ".join(f"`{row}`" for row in taken["rows"])
    return (
        f"- {taken['date']}: {taken['cores']} cores, Linux {taken['kernel']}, load average "
        f"{taken['load_before']} before and {taken['load_after']} after, {taken['rounds']} rounds "
        f"of {taken['seconds']} s, dormouse {taken['commit']}; {', '.join(taken['versions'])}: {rows}"
    )


def missed_by(row):
    if row.figure is None:
        return row.note or "not measured"
    if row.mark and row.figure > row.mark:
        return f"{number(row.figure / row.mark)} times the mark"
    if row.figure > row.mark:
        return f"{number(row.figure)} instead of {number(row.mark)}"
    return failures(row) + " failed"


def mark(row):
    if row.mark is None:
        return "–"
    against = f" {row.against}" if row.figure_unit == "×" and row.against else ""
    return f"≤ {number(row.mark)} {row.figure_unit}{against}".rstrip()


def reached(row):
    return {None: "–", True: "yes", False: "**no**"}[row.reached()]


def failures(row):
    told = [
        f"{who} {one['failed']} of {one['asked']}"
        for who, one in row.seen.items()
        if one["asked"] and (one["failed"] or who == "dormouse")
    ]
    return ", ".join(told) or "–"


def shown(one, unit):
    return f"{number(one['median'])} {unit}".strip()


def spread(one):
    return f" ({number(one['low'])}–{number(one['high'])})" if one["rounds"] > 1 else ""


def number(value):
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
