"""pytest plugin: records each test's outcome; with APPS_TRACKED=1 tracks every table, and checks after each test."""
import json
import os

import pytest
from django.db import connection
from django.test.testcases import TestCase, TransactionTestCase

TRACKED = os.environ["APPS_TRACKED"] == "1"
outcomes = {}
checks = {"tests": 0, "wrong": []}


def write():
    with open(os.environ["APPS_RESULT"], "w", encoding="utf-8") as file:
        json.dump({"outcomes": outcomes, "checks": checks}, file)


def pytest_runtest_logreport(report):
    worst = outcomes.get(report.nodeid)
    if report.outcome != "passed":
        outcomes[report.nodeid] = report.outcome
    elif worst is None and report.when == "call":
        outcomes[report.nodeid] = "passed"


def pytest_sessionfinish():
    write()


@pytest.fixture(scope="session", autouse=True)
def tracked(django_db_setup, django_db_blocker):
    if TRACKED:
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(open(os.environ["APPS_SQL"], encoding="utf-8").read())
            cursor.execute("select apps.track_all()")


def check(function):
    # A test may leave its transaction failed on purpose; then there is nothing to see in it.
    if connection.connection is None or connection.needs_rollback:
        return
    with connection.cursor() as cursor:
        cursor.execute(f"select * from apps.{function}()")
        checks["tests"] += 1
        checks["wrong"] += [
            f"{os.environ.get('PYTEST_CURRENT_TEST')}: {line}" for (line,) in cursor.fetchall()]


# pytest-django's fixture ends in the same methods as Django's own test classes.
def before(cls, function):
    end = cls._fixture_teardown

    def checked(self):
        check(function)
        end(self)

    cls._fixture_teardown = checked


if TRACKED:
    before(TestCase, "check_transaction")
    before(TransactionTestCase, "check_committed")
