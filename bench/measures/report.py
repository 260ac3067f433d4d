"""In charge of what is reported: rows with what they are held against and their aims, as Markdown and JSON."""
import dataclasses
import statistics


@dataclasses.dataclass
class Aim:
    bound: float
    is_least: bool
    unit: str = ""

    def is_met_by(self, value):
        return value >= self.bound if self.is_least else value <= self.bound

    def __str__(self):
        return f"{'at least' if self.is_least else 'at most'} {number(self.bound)}{self.unit}"


def at_least(bound, unit=""):
    return Aim(bound, True, unit)


def at_most(bound, unit=""):
    return Aim(bound, False, unit)


# What is called flat: two and a half times as much as rounds differ by themselves.
FLAT = at_most(1.5)


@dataclasses.dataclass
class Against:
    """What a row's values are divided by, round by round."""
    name: str
    values: list
    aim: Aim | None = None


@dataclasses.dataclass
class Row:
    what: str
    unit: str
    values: list
    against: list = dataclasses.field(default_factory=list)
    # Of the value itself.
    aim: Aim | None = None
    # (line, size), where the row is a point of a plotted line.
    growth: tuple | None = None

    def ratios(self, against):
        return [ours / theirs for ours, theirs in zip(self.values, against.values, strict=True)]

    def aims(self):
        """Each aim with its name, what was reached, and whether that is enough."""
        if self.aim:
            yield "", self.aim, statistics.median(self.values)
        for against in self.against:
            if against.aim:
                yield against.name, against.aim, statistics.median(self.ratios(against))

    def verdict(self):
        aims = list(self.aims())
        missed = [name for name, aim, reached in aims if not aim.is_met_by(reached)]
        if not aims:
            return "", ""
        texts = [f"{aim}{' of ' if name else ''}{name}" for name, aim, _ in aims]
        if not missed:
            return "; ".join(texts), "met"
        names = ", ".join(filter(None, missed)) if len(aims) > 1 else ""
        return "; ".join(texts), "**not met**" + (f" ({names})" if names else "")


@dataclasses.dataclass
class Section:
    name: str
    title: str
    unit_text: str
    rows: list = dataclasses.field(default_factory=list)

    def show_last(self):
        """One line on the way, for who waits."""
        row = self.rows[-1]
        ratios = "".join(f"  {spread(row.ratios(against))} of {against.name}" for against in row.against)
        print(f"{row.what}: {middle(row.values)}{unit(row)} {extent(row.values)}{ratios}  {row.verdict()[1]}".rstrip(), flush=True)

    def markdown(self):
        names = list(dict.fromkeys(against.name for row in self.rows for against in row.against))
        has_aims = any(True for row in self.rows for _ in row.aims())
        heads = ["what", "Godwit", *(f"against {name}" for name in names), *(["aim", ""] if has_aims else [])]
        lines = [f"### {self.title}", "", f"{self.unit_text[0].upper()}{self.unit_text[1:]}.", "",
                 "| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
        for row in self.rows:
            beside = {against.name: f"**{middle(row.ratios(against))}** {extent(row.ratios(against))}"
                      f" of {number(statistics.median(against.values))}" for against in row.against}
            cells = [row.what, f"{middle(row.values)}{unit(row)} {extent(row.values)}"]
            cells += [beside.get(name, "") for name in names]
            lines.append("| " + " | ".join([*cells, *(row.verdict() if has_aims else ())]) + " |")
        return "\n".join(lines) + "\n"


def unit(row):
    return row.unit if row.unit.startswith("/") else f" {row.unit}"


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.01 else f"{value:.2g}"


def middle(values):
    return number(statistics.median(values))


# As many as are wanted: where there was no time for them it is told.
ROUNDS = 5


def extent(values):
    if len(values) == 1:
        return "(one round)"
    fewer = f", {len(values)} rounds" if len(values) < ROUNDS else ""
    return f"({number(min(values))} to {number(max(values))}{fewer})"


def spread(values):
    return f"{middle(values)} {extent(values)}"


def count(sections):
    reached = [aim.is_met_by(value) for section in sections for row in section.rows for _, aim, value in row.aims()]
    return sum(reached), len(reached)


def markdown(sections, machine, plot):
    met, all_of_them = count(sections)
    head = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    missed = [f"- {row.what}{', against ' if name else ''}{name}: {number(value)}, aim {aim}" for section in sections
              for row in section.rows for name, aim, value in row.aims() if not aim.is_met_by(value)]
    return (f"# What `make bench` measured\n\n{head}\n\n**{met} of {all_of_them} aims met.** How to read it: "
            f"[bench/README.md](../README.md).\n\n![ratios and growth]({plot})\n\n"
            + "\n".join(section.markdown() for section in sections)
            + "\n## Aims not met\n\n" + ("\n".join(missed) or "None.") + "\n")
