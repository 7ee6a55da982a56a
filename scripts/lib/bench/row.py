"""One line of the table: what was measured on whom, the figure, its mark, and whether it is met."""

from dataclasses import asdict, dataclass
from statistics import median


@dataclass
class Seen:
    """What one of those that were compared has shown."""

    median: float
    low: float
    high: float
    rounds: int
    failed: int = 0
    asked: int = 0


@dataclass
class Row:
    """`figure` is what the mark is about: a ratio, or the value of dormouse itself."""

    name: str
    what: str
    unit: str
    seen: dict
    figure: float | None
    figure_unit: str
    mark: float | None = None
    against: str = ""
    note: str = ""

    def reached(self):
        if self.mark is None:
            return None
        own = self.seen.get("dormouse")
        failed = own is not None and own["failed"] > 0
        return self.figure is not None and self.figure <= self.mark and not failed

    def to_json(self):
        return asdict(self) | {"reached": self.reached()}


def row_of(json):
    return Row(**{key: value for key, value in json.items() if key not in ("reached", "taken")})


def seen(values, failed=0, asked=0):
    ordered = sorted(values)
    return asdict(Seen(median(ordered), ordered[0], ordered[-1], len(ordered), failed, asked))


def ratio(name, what, unit, figures, mark, peer="nginx", **more):
    """A row whose figure is dormouse's median divided by a peer's."""
    own, other = figures.get("dormouse"), figures.get(peer)
    figure = own["median"] / other["median"] if own and other and other["median"] else None
    return Row(name, what, unit, figures, figure, "×", mark, against=peer, **more)


def value(name, what, unit, figures, mark, **more):
    """A row whose figure is dormouse's own median."""
    own = figures.get("dormouse")
    figure = own["median"] if own else None
    return Row(name, what, unit, figures, figure, unit, mark, **more)


def absent(name, what, mark, mark_unit, against, why):
    """A row that says what is not there to be measured."""
    return Row(name, what, mark_unit, {}, None, mark_unit, mark, against=against, note=why)
