"""In charge of psql and pgbench, which libpq's environment tells where to go. What they say when they fail is raised."""
import dataclasses
import glob
import os
import re
import subprocess
import tempfile


class Broken(Exception):
    """A measure that could not be taken, with what the server said."""


def run(command, given=None, settings=None):
    environment = dict(os.environ)
    if settings:
        environment["PGOPTIONS"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
    done = subprocess.run(command, input=given, text=True, capture_output=True, env=environment)
    if done.returncode:
        raise Broken(f"{command[0]} failed:\n{done.stderr.strip()}\non: {(given or ' '.join(command))[:400]}")
    return done.stdout


def psql(sql, settings=None):
    """Milliseconds of each statement."""
    printed = run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"], "\\timing on\n" + sql, settings)
    return [float(ms) for ms in re.findall(r"^Time: ([\d.]+) ms", printed, re.M)]


def seconds(sql):
    """Of the last statement."""
    return psql(sql)[-1] / 1000


def value(sql, settings=None):
    """The one value that a query returns, as text."""
    return run(["psql", "-X", "-qAt", "-v", "ON_ERROR_STOP=1"], sql, settings).strip()


@dataclasses.dataclass
class Drained:
    seconds: float
    rows: int


def drain(queries, settings=None):
    """Reads these to their end by COPY, in one session, and throws the rows away."""
    script = "\\timing on\n" + "".join(f"\\copy ({query}) to '/dev/null'\n" for query in queries)
    printed = run(["psql", "-X", "-v", "ON_ERROR_STOP=1"], script, settings)
    times = re.findall(r"^Time: ([\d.]+) ms", printed, re.M)
    rows = re.findall(r"^COPY (\d+)", printed, re.M)
    return Drained(sum(map(float, times)) / 1000, sum(map(int, rows)))


def pgbench(script, *arguments, settings=None):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        return run(["pgbench", "-n", "-M", "prepared", "-f", file.name, "-j", "1", *map(str, arguments)], settings=settings)


def calls_per_second(script, count, settings=None):
    """By one client, which waits for each."""
    return float(re.search(r"tps = ([\d.]+)", pgbench(script, "-t", count, settings=settings))[1])


def or_given_up(ask, limit_s, settings=None):
    """What `ask` returns with these settings, or nothing if it takes longer than this."""
    try:
        return ask({**(settings or {}), "statement_timeout": f"{limit_s}s"})
    except Broken as broken:
        if "canceling statement due to statement timeout" in str(broken):
            return None
        raise


def milliseconds(script, duration_s, settings=None):
    """Of one call by one client, the mean of as many as there is time for: one at least."""
    return 1000 / float(re.search(r"tps = ([\d.]+)", pgbench(script, "-T", duration_s, settings=settings))[1])


# What backends need to load a library, make plans and fill their caches; 32 of them on two cores take most of it.
STARTING_S = 0.4
# Below this a rate says nothing.
COUNTED_S_MIN = 0.2
# pgbench counts the time that clients need to connect as part of its duration: above so many it gets a second more.
CONNECTING_FAST = 8


def throughput(script, clients, duration_s, settings=None, connects=False):
    """Transactions a second of this many clients, from when all of them are under way; each in a connection of its own, if
    they connect."""
    asked_s = duration_s + (clients > CONNECTING_FAST)
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "log")
        pgbench(script, "-c", clients, "-T", asked_s, "-l", f"--log-prefix={prefix}", *["-C"] * connects, settings=settings)
        ended = []
        for path in glob.glob(prefix + ".*"):
            with open(path) as log:
                ended.extend(int(second) + int(micro) / 1e6 for *_, second, micro in map(str.split, log))
    if not ended:
        raise Broken("pgbench finished no transaction")
    begins = min(ended) + STARTING_S
    ends = min(max(ended), min(ended) + duration_s)
    if ends - begins < COUNTED_S_MIN:
        raise Broken(f"pgbench had {max(ended) - min(ended):.2f} s for {clients} clients: the machine is too busy")
    return sum(begins < at <= ends for at in ended) / (ends - begins)
