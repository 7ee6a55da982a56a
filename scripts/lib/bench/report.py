"""What was measured, as a table and as a page, beside the marks it should reach."""

INTRODUCTION = """# Benchmarks
Written by `scripts/bench` on {date}; the same figures with their spread are in `benchmarks.json`.

{cores} cores, Linux {kernel}, {nginx}, {wrk}. The machine was shared with other work (load
average {load} when it began), so wall-clock figures are noisy: what counts are the ratios and the
CPU time per request, medians of {rounds} rounds of {seconds} s in turns with nginx, which proxies
to the same kind of upstream with keep-alive, buffers of 64 KiB and the same forwarded headers.
dormouse runs as it ships: gates, leases, metrics and strict request checks are on. Memory is over
{connections} connections. What dormouse adds to a wake is the difference of the percentiles of
{wakes} wakes through dormouse and as many by the engine alone, in turns; below zero it is lost in
the noise of the engine.

"""


def rows(figures):
    """Name, dormouse, what it is compared with, figure, mark, failures."""
    made = []
    names = {
        "small": ("1 KiB answers, 64 connections, CPU per request", "cpu_us", 1.0),
        "large": ("1 MiB answers, 16 connections, CPU per request", "cpu_us", 0.95),
        "alone": ("1 KiB answers, one connection, latency p50", "latency_p50_us", 1.1),
    }
    for key, (name, unit, mark) in names.items():
        nginx, own = figures["traffic"][key]["nginx"], figures["traffic"][key]["dormouse"]
        ratio = own[unit] / nginx[unit]
        failures = f"{own['failures']} of {own['requests']}"
        beside = f"nginx {nginx[unit]:.1f} µs"
        made.append(row(name, f"{own[unit]:.1f} µs", beside, ratio, mark, "×", failures))
    memory = figures["memory"]
    idle = memory["idle_connection_kib"]
    made += [
        row(
            "memory per idle keep-alive connection",
            f"{idle['dormouse']:.1f} KiB",
            f"nginx {idle['nginx']:.1f} KiB",
            idle["dormouse"],
            8,
            "KiB",
        ),
        row(
            "memory per held request",
            f"{memory['held_request_kib']:.1f} KiB",
            "–",
            memory["held_request_kib"],
            12,
            "KiB",
        ),
        row(
            "memory with 100 sleeping workloads",
            f"{memory['sleepers_rss_kib'] / 1024:.1f} MiB",
            "–",
            memory["sleepers_rss_kib"] / 1024,
            12,
            "MiB",
        ),
    ]
    marks = {"kill": ("cold wake", {"p50": 5, "p99": 30}), "pause": ("wake from pause", {"p50": 2})}
    for rest, (name, marked) in marks.items():
        wake = (figures["wakes"] or {}).get(rest)
        for at, mark in marked.items() if wake else ():
            made.append(
                row(
                    f"{name}, what dormouse adds, {at}",
                    f"{wake['dormouse_ms'][at]:.1f} ms",
                    f"the engine alone {wake['engine_ms'][at]:.1f} ms",
                    wake["added_ms"][at],
                    mark,
                    "ms",
                    f"{wake['failures']} of {wake['rounds'] + 1}",
                )
            )
    return made


def row(name, own, other, figure, mark, unit, failures="–"):
    return {
        "name": name,
        "own": own,
        "other": other,
        "figure": f"{figure:.2f} {unit}",
        "mark": f"≤ {mark} {unit}",
        "reached": reached(figure, mark),
        "missed_by": missed_by(figure, mark, unit),
        "failures": failures,
    }


def reached(figure, mark):
    if figure < 0:
        return "in the noise"
    return "yes" if figure <= mark else "**no**"


def missed_by(figure, mark, unit):
    if figure <= mark:
        return None
    return f"{figure - mark:.2f} {unit}, {figure / mark:.2f} times the mark"


def table(made):
    lines = [
        "| what | dormouse | beside | figure | mark | reached | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in made:
        lines.append(
            f"| {one['name']} | {one['own']} | {one['other']} | {one['figure']} | {one['mark']} "
            f"| {one['reached']} | {one['failures']} |"
        )
    return "\n".join(lines)


def page(figures, made):
    machine, settings = figures["machine"], figures["settings"]
    text = INTRODUCTION.format(
        date=figures["date"],
        cores=machine["cores"],
        kernel=machine["kernel"],
        nginx=machine["nginx"].removeprefix("nginx version: "),
        wrk=machine["wrk"].split(" Copyright")[0],
        load=machine["load_before"],
        connections=figures["memory"]["connections"],
        wakes=figures["wakes"]["kill"]["rounds"] if figures["wakes"] else "no",
        **settings,
    )
    missed = [f"- {one['name']}: by {one['missed_by']}" for one in made if one["missed_by"]]
    text += table(made) + "\n\n## Marks that are missed\n"
    text += "\n".join(missed) + "\n" if missed else "None.\n"
    text += "\n## Not measured here\nHTTP/2 over TLS, raw TCP bulk, idle WebSockets, the herd of "
    text += "10,000 (a test has it), and the fleet at 100,000 workloads.\n"
    if figures["wakes"] is None:
        text += "Wakes: no Docker Engine answered.\n"
    return text
