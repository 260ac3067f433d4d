#!/usr/bin/env python3
"""Runs the SQL that the documentation shows, and compares what it prints.

    doc_test.py FILE.md …

Every ```sql block of a page runs in one psql session, in a database of its own; where a ```text
block follows, that is what psql must have printed. Connects as libpq's environment says.
"""
import difflib
import re
import subprocess
import sys

BLOCK = re.compile(r"^```sql\n(.*?)^```\n(?:\n?^```text\n(.*?)^```\n)?", re.M | re.S)
MARK = "~~ end of a block ~~"


def run(page):
    blocks = BLOCK.findall(open(page, encoding="utf-8").read())
    database = "docs_" + re.sub(r"\W", "_", page).lower().removesuffix("_md")
    subprocess.run(["createdb", database], check=True)
    script = "".join(f"{sql}\\echo {MARK}\n" for sql, _ in blocks)
    psql = subprocess.run(
        ["psql", "-X", "-q", "-d", database], input=script, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = psql.stdout.split(MARK + "\n")[:-1]
    if len(printed) != len(blocks):
        print(f"{page}: psql stopped after {len(printed)} of {len(blocks)} blocks\n{psql.stdout}")
        return 0, 1
    wrong = 0
    for (sql, expected), got in zip(blocks, printed):
        if lines(expected) != lines(got):
            wrong += 1
            print(f"{page}: other output of\n{sql}")
            print("\n".join(difflib.unified_diff(
                lines(expected), lines(got), "the page", "psql", lineterm="")))
    return len(blocks), wrong


def lines(text):
    """Without the spaces that no reader sees: around a line, and in the centred headings."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def main():
    pages = [run(page) for page in sys.argv[1:]]
    blocks, wrong = (sum(column) for column in zip(*pages))
    print(f"docs: {blocks} blocks of SQL on {len(pages)} pages, {wrong} wrong")
    return 1 if wrong or not blocks else 0


if __name__ == "__main__":
    sys.exit(main())
