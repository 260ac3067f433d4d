#!/usr/bin/env python3
"""Runs the tests of existing apps on plain tables and on tracked ones, and compares their outcomes.

    run.py WORK [--all] [APP …]

Connects as libpq's environment says; WORK keeps the apps' sources and Python environments. With --all every
test of an app is run, else those that the app's entry names. docs/apps.md tells why these.
"""
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHONS = [(3, 11), (3, 12)]
CHECKS = [os.path.join(HERE, "..", "regress", "sql", "00_check.sql"), os.path.join(HERE, "check.sql")]


class Misago:
    """A forum: Django's ORM, with trees, full-text search, arrays, JSON and generic relations."""

    name, version = "misago", "0.39.6"
    sha256 = "67265caa84e0c1a448547b04a123b2ae9e5fb5ae5f53d9343ec2d9dd14e91074"
    made_with = "Django 4.2.8, psycopg 3.1.16"
    differs = {}
    # Trees, merges, splits, moves, bulk edits and deletions, polls, read marks, search; little that only renders pages.
    some = ["misago/categories", "misago/readtracker", "misago/users/admin/tests/test_*delet*",
            "misago/users/admin/tests/test_users_mass_actions.py", "misago/users/admin/tests/test_ranks.py",
            *(f"misago/threads/tests/test_{name}.py" for name in (
                "thread_merge*", "thread_poll*", "thread_post[bdelmrs]*", "threads_[bm]*", "privatethread_*",
                "posts_moderation", "search", "s*threads"))]

    def install(self, app):
        """It runs from its source."""

    def command(self, app, everything):
        paths = [path for pattern in self.some for path in sorted(glob.glob(pattern, root_dir=app.source))]
        return [app.python, "-m", "pytest", "-q", "--ds=misago_project.settings", "--create-db", "--reuse-db",
                "-p", "godwit_pytest", "-p", "no:cacheprovider", "-p", "no:warnings", "--tb=short",
                *(["misago"] if everything else paths)]

    def prepare(self, app, database):
        return {}


class Mailman:
    """A mailing list manager: SQLAlchemy's ORM with column types of its own, and Alembic's migrations."""

    name, version = "mailman", "3.3.10"
    sha256 = "0de478fcf326f25d931938c3744e61c5cd67596b46e5b1e3bb2abf99d5445632"
    made_with = "SQLAlchemy 2.0.58, psycopg2 2.9.13"
    # Whose outcome differs, and why; only in a run with --all.
    differs = {
        "mailman.tests.test_hook_deprecations.TestExternalHooks.test_post_hook_deprecated":
            "it reads what a program warns of, and SQLAlchemy warns when it reflects a column of a type it doesn't know",
    }
    some = [r"^mailman\.(model|database|app)\."]

    def install(self, app):
        # Its tests start the programs that an installation has.
        app.pip("install", "--no-deps", "--no-build-isolation", app.source)

    def command(self, app, everything):
        patterns = [] if everything else [f"--pattern={pattern}" for pattern in self.some]
        return [app.python, "-m", "nose2", "--plugin=godwit_nose2", *patterns]

    def prepare(self, app, database):
        run(["createdb", database])
        config = os.path.join(app.folder, f"{database}.cfg")
        with open(config, "w", encoding="utf-8") as file:
            file.write("[database]\nclass: mailman.database.postgresql.PostgreSQLDatabase\n"
                       "url: postgresql+psycopg2://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/%s\n"
                       .format(**os.environ) % database)
        return {"MAILMAN_EXTRA_TESTING_CFG": config}


APPS = [Misago(), Mailman()]

# The comparison must see what happens behind the triggers' back; rolled back.
BLIND = """begin;
create table public.godwit_blind (id int primary key, value int);
select from godwit.track('public.godwit_blind');
insert into public.godwit_blind values (1, 1), (2, 2);
update pg_class set relhastriggers = false where oid = 'public.godwit_blind'::regclass;
update public.godwit_blind set value = 3 where id = 1;
delete from public.godwit_blind where id = 2;
select apps.wrong(array['public.godwit_blind'::regclass::oid]);
rollback"""


def run(command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-4000:]}")
    return done.stdout


def psql(database, sql):
    return run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]).strip()


class App:
    def __init__(self, kind, work):
        self.kind = kind
        self.folder = os.path.join(work, kind.name)
        self.source = os.path.join(self.folder, "source")
        self.python = os.path.join(self.folder, "venv", "bin", "python")
        self.requirements = os.path.join(HERE, f"{kind.name}-requirements.txt")
        self.lines, self.failures, self.compared, self.revisions = [], [], 0, 0

    def pip(self, *arguments):
        run([self.python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments])

    def install(self):
        """The app's source from its source distribution, and its requirements; kept while neither changes."""
        with open(self.requirements, "rb") as file:
            wanted = hashlib.sha256(file.read() + self.kind.sha256.encode() + sys.version.encode()).hexdigest()
        stamp = os.path.join(self.folder, "installed")
        if os.path.exists(stamp) and open(stamp, encoding="utf-8").read() == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        run([sys.executable, "-m", "venv", os.path.join(self.folder, "venv")])
        # Named here and not by the app: its own list has its developers' tools in it, and is open to newer versions.
        self.pip("install", "-r", self.requirements)
        only = os.path.join(self.folder, "sdist.txt")
        with open(only, "w", encoding="utf-8") as file:
            file.write(f"{self.kind.name}=={self.kind.version} --hash=sha256:{self.kind.sha256}\n")
        archives = os.path.join(self.folder, "sdist")
        self.pip("download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes",
                 "-r", only, "-d", archives)
        shutil.unpack_archive(os.path.join(archives, os.listdir(archives)[0]), archives)
        os.rename(next(entry.path for entry in os.scandir(archives) if entry.is_dir()), self.source)
        self.kind.install(self)
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)

    def tests(self, tracked, everything):
        database = f"{self.kind.name}_{'tracked' if tracked else 'plain'}"
        run(["dropdb", "--if-exists", database])
        work = os.path.join(self.folder, database)
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        result = os.path.join(work, "result.json")
        setup = os.path.join(work, "setup.sql")
        with open(setup, "w", encoding="utf-8") as file:
            file.write("create extension godwit; create schema apps; set search_path = apps, public;\n")
            file.writelines(open(path, encoding="utf-8").read() for path in CHECKS)
            file.write("reset search_path;\n")
        environment = os.environ | self.kind.prepare(self, database) | {
            "APPS_DATABASE": database, "APPS_RESULT": result, "APPS_SQL": setup, "APPS_WORK": work,
            "APPS_TRACKED": str(int(tracked)), "PYTHONPATH": HERE, "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8"}
        start = time.monotonic()
        with open(os.path.join(work, "log"), "w", encoding="utf-8") as log:
            subprocess.run(self.kind.command(self, everything), cwd=self.source, env=environment,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False)
        seconds = time.monotonic() - start
        if not os.path.exists(result):
            raise RuntimeError(f"no result: see {work}/log\n" + open(log.name, encoding="utf-8").read()[-4000:])
        with open(result, encoding="utf-8") as file:
            found = json.load(file)
        counts = {}
        for outcome in found["outcomes"].values():
            counts[outcome] = counts.get(outcome, 0) + 1
        counted = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items(), key=lambda c: -c[1]))
        self.say(f"{'tracked' if tracked else 'plain  '}: {len(found['outcomes'])} tests: {counted}; {seconds:.0f} s")
        return database, found

    def say(self, line):
        self.lines.append(f"{self.kind.name}: {line}")

    def fail(self, line):
        self.failures.append(f"{self.kind.name}: {line}")

    def run(self, everything):
        self.install()
        self.say(f"{self.kind.name} {self.kind.version} with {self.kind.made_with}")
        _, plain = self.tests(False, everything)
        database, tracked = self.tests(True, everything)
        self.compare(plain["outcomes"], tracked["outcomes"])

        refused = psql(database, "select relation || ': ' || reason from apps.refused").splitlines()
        for line in refused:
            self.say(f"not tracked: {line}")
        count, rows, kept, tombstones, revisions = map(int, psql(database, "select * from apps.summary()").split("|"))
        wrong = psql(database, "select apps.wrong(array(select relation::oid from godwit.tracked))").splitlines()
        self.say(f"{count + len(refused)} tables, {count} tracked; {revisions} revisions made; at the end {rows} rows, "
                 f"{kept} revisions kept, {tombstones} of them tombstones")
        self.say(f"compared with the history after {tracked['checks']['tests']} tests and at the end: "
                 f"{len(tracked['checks']['wrong']) + len(wrong)} differences")
        if len(psql(database, BLIND).splitlines()) != 2:
            self.fail("the comparison with the history is blind")
        for line in tracked["checks"]["wrong"] + wrong:
            self.fail(line)
        self.revisions = revisions
        if count == 0 or revisions == 0 or tracked["checks"]["tests"] == 0:
            self.fail("nothing was tracked, or no revision made, or nothing checked")

    def compare(self, plain, tracked):
        if not plain:
            self.fail("no test ran")
        for test in sorted(plain.keys() | tracked.keys()):
            before, after = plain.get(test, "not run"), tracked.get(test, "not run")
            if before != after and test in self.kind.differs:
                self.say(f"{before} on plain tables, {after} on tracked ones, as is known: {test}: "
                         + self.kind.differs[test])
            elif before != after:
                self.fail(f"{test}: {before} on plain tables, {after} on tracked ones")
            elif before not in ("passed", "skipped"):
                self.say(f"{before} on both: {test}")
        self.compared = len(plain)


def main():
    work, *rest = sys.argv[1:]
    everything = "--all" in rest
    wanted = [name for name in rest if name != "--all"]
    if sys.version_info[:2] not in PYTHONS:
        sys.exit(f"error: python3 is {sys.version.split()[0]}: the apps' libraries are pinned to versions for 3.11 and 3.12.")
    apps = [App(kind, os.path.abspath(work)) for kind in APPS if not wanted or kind.name in wanted]

    def guarded(app):
        try:
            app.run(everything)
        except Exception as error:  # A thread's exception would be lost.
            app.fail(f"{type(error).__name__}: {error}")

    # Side by side: each is one process that keeps one core busy.
    threads = [threading.Thread(target=guarded, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for app in apps:
        print("\n".join(app.lines), end="\n\n")
    failures = [line for app in apps for line in app.failures]
    print("\n".join(failures))
    print(f"apps: {sum(app.compared for app in apps)} tests of {' and '.join(app.kind.name for app in apps)} "
          f"on plain and on tracked tables, {len(failures)} differences, "
          f"{sum(app.revisions for app in apps)} revisions")
    return 1 if failures or not apps else 0


if __name__ == "__main__":
    sys.exit(main())
