"""What schemathesis is told: a table that is there is asked for more often than one that isn't, and feeds that
never end are left to the other tests."""
import os

import schemathesis

TABLE = os.environ["GODWIT_TABLE"]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "table" in path_parameters and len(str(path_parameters["table"])) % 3:
        path_parameters["table"] = TABLE
    return path_parameters


def _ends(said):
    return not isinstance(said, dict) or said.get("feed") not in ("sse", "ndjson", "longpoll")


@schemathesis.hook
def filter_query(context, query):
    return _ends(query)


@schemathesis.hook
def filter_body(context, body):
    return _ends(body)
