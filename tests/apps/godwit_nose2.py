"""nose2 plugin: records each test's outcome; with APPS_TRACKED=1 tracks every table, and checks after each test."""
import json
import os

from mailman.database import factory
from mailman.database.model import Model
from nose2.events import Plugin
import sqlalchemy
from sqlalchemy import MetaData, event, text

TRACKED = os.environ["APPS_TRACKED"] == "1"
SOURCE = os.getcwd() + os.sep
outcomes = {}
checks = {"tests": 0, "wrong": []}


class Godwit(Plugin):
    configSection = "godwit"
    alwaysOn = True

    def testOutcome(self, event):
        # A doctest is named by its path.
        name = event.test.id().removeprefix(SOURCE)
        if outcomes.get(name, "passed") == "passed":
            as_expected = event.outcome == "failed" and event.expected
            outcomes[name] = "failed as expected" if as_expected else event.outcome

    def afterSummaryReport(self, event):
        with open(os.environ["APPS_RESULT"], "w", encoding="utf-8") as file:
            json.dump({"outcomes": outcomes, "checks": checks}, file)


def track(target, connection, **kwargs):
    if connection.scalar(text("select to_regclass('apps.refused') is null")):
        with open(os.environ["APPS_SQL"], encoding="utf-8") as sql:
            connection.exec_driver_sql(sql.read(), execution_options={"no_parameters": True})
    connection.execute(text("select apps.track_all()"))


def check(database):
    with database.engine.connect() as connection:
        lines = connection.scalars(text("select * from apps.check_committed()")).all()
        connection.commit()
    checks["tests"] += 1
    checks["wrong"] += lines


class Reflected(MetaData):
    """What a database has, without the twins: they are no tables of the app's to drop."""

    def reflect(self, bind, *args, **kwargs):
        super().reflect(bind, *args, **kwargs)
        twins = text("select twin::text from godwit.tracked")
        if isinstance(bind, sqlalchemy.engine.Connection):
            twins = set(bind.scalars(twins))
        else:
            with bind.connect() as connection:
                twins = set(connection.scalars(twins))
        for name in twins & set(self.tables):
            self.remove(self.tables[name])


if TRACKED:
    sqlalchemy.MetaData = Reflected
    sqlalchemy.schema.MetaData = Reflected
    event.listen(Model.metadata, "after_create", track)
    reset = factory._reset

    # Mailman's tests commit; its layers empty every table after each.
    def checked_reset(self):
        check(self)
        reset(self)

    factory._reset = checked_reset
