#!/usr/bin/env python3
"""Writes sql/godwit--FROM--TO.sql: the catalog's steps by hand (sql/upgrade/TO.sql), and every function
as it is now. `upgrade_sql.py --check` fails where the file isn't what it would write."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FROM, TO = "0.1.0", "0.2.0"


def statements(text):
    """SQL statements; a semicolon inside $$…$$, a string or a comment ends none."""
    token = re.compile(r"\$\$.*?\$\$|'(?:[^']|'')*'|--[^\n]*|;", re.S)
    start = 0
    for found in token.finditer(text):
        if found.group() == ";":
            yield text[start:found.end()].strip()
            start = found.end()


def functions():
    order = re.findall(r'extension_sql_file!\("\.\./(sql/\w+\.sql)"', (ROOT / "extension/src/lib.rs").read_text())
    for name in order:
        for statement in statements((ROOT / name).read_text()):
            code = re.sub(r"\A(?:\s*--[^\n]*\n)*", "", statement).strip()
            made = re.match(r"create (function|procedure) godwit\.(\w+)\(", code)
            # Those of the type exist, and it depends on them.
            if made and not (name == "sql/revision.sql" and made[2] != "_generation_floor"):
                yield re.sub(r"\Acreate ", "create or replace ", code)
            elif code.startswith(("comment on function", "comment on procedure", "revoke execute on function")):
                yield code


def build():
    by_hand = (ROOT / f"sql/upgrade/{TO}.sql").read_text()
    before, after = by_hand.split("-- FUNCTIONS\n")
    return (f"-- Written by scripts/upgrade_sql.py; do not edit.\n\n{before.strip()}\n\n"
            + "\n\n".join(functions()) + f"\n\n{after.strip()}\n")


path = ROOT / f"sql/godwit--{FROM}--{TO}.sql"
text = build()
if "--check" in sys.argv:
    if not path.exists() or path.read_text() != text:
        sys.exit(f"{path.name} is not up to date: run scripts/upgrade_sql.py")
else:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
