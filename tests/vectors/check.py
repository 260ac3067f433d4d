#!/usr/bin/env python3
"""Checks every vector in this folder against docs/canonical.md.

Written from that page alone, with nothing but Python's standard library, so that it agrees with
the Rust crate only where both follow the page. Prints how many vectors it checked; exits with 1
after naming each one that does not hold.
"""
import base64
import binascii
import calendar
import hashlib
import json
import math
import pathlib
import re
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Files only grow; fewer vectors than these, which the first release had, means that some were lost.
AT_LEAST = {"values": 81, "revisions": 45, "order": 8, "winner": 18, "json": 27, "invalid": 127}

# Section 11.
DEPTH_MAX = 64
ID_BYTES_MAX = 1024
GENERATION_MAX = 2**53 - 1
WHOLE_DIGITS_MAX, FRACTION_DIGITS_MAX = 131_072, 16_383


class Refused(Exception):
    """What section 2, 3, 5, 8 or 10 says a reader refuses."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


# JSON: numbers keep their literal, objects whether a name came twice.


class Number(str):
    pass


class Twice(dict):
    """An object in which a name came twice; the last one stands."""


def members(pairs):
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else Twice(plain)


def no_constant(text):
    raise Refused(f"{text} is not JSON")


def parse(text):
    try:
        return json.loads(
            text,
            object_pairs_hook=members,
            parse_int=Number,
            parse_float=Number,
            parse_constant=no_constant,
        )
    except ValueError as error:
        raise Refused(str(error)) from error


def is_text(json_value):
    return isinstance(json_value, str) and not isinstance(json_value, Number)


def utf8(text):
    need(is_text(text) and "\0" not in text, "not a string without U+0000")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused("half a surrogate pair") from error


# Section 2: values. One is kept as (kind, Python value); scalars other than null, bool, int, float
# and bytes as their text.


def float_text(number):
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    sign = "-" if math.copysign(1, number) < 0 else ""
    if number == 0:
        return sign + "0"
    # Python prints the shortest digits too, in another layout.
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    n = len(whole) + int(exponent or 0)
    stripped = (whole + fraction).lstrip("0")
    n -= len(whole + fraction) - len(stripped)
    digits = stripped.rstrip("0")
    k = len(digits)
    if k <= n <= 21:
        return sign + digits + "0" * (n - k)
    if 0 < n <= 21:
        return sign + digits[:n] + "." + digits[n:]
    if -6 < n <= 0:
        return sign + "0." + "0" * -n + digits
    tail = "." + digits[1:] if k > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'-' if n < 1 else '+'}{abs(n - 1)}"


def read_float(text):
    special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    if text in special:
        return special[text]
    need(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?", text), "not a float")
    number = float(text)
    need(float_text(number) == text, "not the float's one form")
    return number


def check_decimal(text):
    if text in ("NaN", "Infinity", "-Infinity"):
        return
    need(re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text), "not a decimal")
    need(not text.startswith("-") or re.search("[1-9]", text), "negative zero")


def check_date(text):
    if text in ("infinity", "-infinity"):
        return
    match = re.fullmatch(r"([+-]?)([0-9]{4,7})-([0-9]{2})-([0-9]{2})", text)
    need(match, "not a date")
    sign, digits, month, day = match[1], match[2], int(match[3]), int(match[4])
    need(len(digits) == 4 or digits[0] != "0", "padded year")
    year = -int(digits) if sign == "-" else int(digits)
    need((sign == "") == (1 <= year <= 9999), "sign of the year")
    need(sign != "-" or year != 0, "year -0000")
    need(1 <= month <= 12, "month")
    days = [31, 29 if calendar.isleap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    need(1 <= day <= days[month - 1], "day")


def check_timestamp(text):
    if text in ("infinity", "-infinity"):
        return
    date, _, time = text.partition("T")
    match = re.fullmatch(r"([0-9]{2}):([0-9]{2}):([0-9]{2})\.[0-9]{6}Z?", time)
    need(match and "infinity" not in date, "not a timestamp")
    check_date(date)
    need(int(match[1]) < 24 and int(match[2]) < 60 and int(match[3]) < 60, "time of day")


def read_base64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("not base64") from error
    need(base64.b64encode(raw).decode() == text, "not base64's one form")
    return raw


def read_int(text):
    need(re.fullmatch(r"0|-?[1-9][0-9]*", text), "not an int")
    need(-(2**63) <= int(text) < 2**63, "int out of range")
    return int(text)


def read_scalar(kind, text):
    utf8(text)
    if kind == "bool":
        need(text in ("true", "false"), "not a bool")
        return text == "true"
    readers = {"int": read_int, "float": read_float, "bytes": read_base64}
    if kind in readers:
        return readers[kind](text)
    checks = {"decimal": check_decimal, "date": check_date, "timestamp": check_timestamp}
    checks.get(kind, utf8)(text)
    return text


SCALARS = ("bool", "int", "float", "decimal", "string", "bytes", "date", "timestamp")


def read_value(wire, depth=1):
    need(depth <= DEPTH_MAX, "too deep")
    need(type(wire) is dict and len(wire) == 1, "not an object with one member")
    ((kind, member),) = wire.items()
    if kind == "null":
        need(member is True, "null takes true")
        return kind, None
    if kind == "list":
        need(isinstance(member, list), "list takes an array")
        return kind, [read_value(item, depth + 1) for item in member]
    if kind == "map":
        return kind, read_members(member, depth + 1)
    need(kind in SCALARS, "unknown kind")
    return kind, read_scalar(kind, member)


def read_members(json_object, depth=1):
    need(type(json_object) is dict, "not an object, or a name twice")
    for name in json_object:
        utf8(name)
    return {name: read_value(value, depth) for name, value in json_object.items()}


# Section 3: revision ids, as (generation, token); Python's order of these is section 6's.


def read_revision(text):
    need(is_text(text), "not a string")
    match = re.fullmatch(r"([1-9][0-9]*)-([!#-+\--~]{1,128})", text)
    need(match and int(match[1]) <= GENERATION_MAX, "not a revision id")
    return int(match[1]), match[2].encode("ascii")


def code(character):
    """Section 6's table."""
    if "1" <= character <= "8":
        return format(int(character), "04b")
    if "a" <= character <= "e":
        return format(int(character, 16), "04b")
    if character in "09f":
        return {"0": "00001", "9": "10010", "f": "11110"}[character]
    if character < "0":
        return "00000" + format(ord(character) - 0x20, "04b")
    if character < "a":
        return "10011" + format(ord(character) - 0x3A, "06b")
    return "11111" + format(ord(character) - 0x67, "05b")


def sortable(revision):
    generation, token = revision
    size = (generation.bit_length() + 7) // 8
    number = bytes([15 + generation]) if generation <= 224 else bytes([239 + size]) + generation.to_bytes(size, "big")
    bits = "".join(map(code, token.decode("ascii")))
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[at:at + 8], 2) for at in range(0, len(bits), 8))
    return number + packed


# Sections 4 and 5: bytes.

TAGS = ["null", "bool", "int", "float", "decimal", "string", "bytes", "date", "timestamp", "list", "map"]
NAN = bytes.fromhex("7ff8000000000000")


def counted(raw):
    return struct.pack(">I", len(raw)) + raw


def value_bytes(value):
    kind, held = value
    tag = bytes([TAGS.index(kind)])
    if kind == "null":
        return tag
    if kind == "bool":
        return tag + bytes([held])
    if kind == "int":
        return tag + struct.pack(">q", held)
    if kind == "float":
        return tag + (NAN if math.isnan(held) else struct.pack(">d", held))
    if kind == "list":
        return tag + struct.pack(">I", len(held)) + b"".join(map(value_bytes, held))
    if kind == "map":
        return tag + members_bytes(held)
    return tag + counted(held if kind == "bytes" else utf8(held))


def members_bytes(held):
    parts = sorted((utf8(name), value_bytes(value)) for name, value in held.items())
    return struct.pack(">I", len(parts)) + b"".join(counted(name) + raw for name, raw in parts)


def revision_bytes(record_id, previous, deleted, attributes):
    head = b"\x01" + counted(utf8(record_id))
    head += b"\x00" if previous is None else b"\x01" + counted(previous.encode("ascii"))
    return head + bytes([deleted]) + members_bytes(attributes)


class Reader:
    def __init__(self, raw):
        self.rest = raw

    def take(self, count):
        need(len(self.rest) >= count, "the bytes end too early")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def flag(self):
        byte = self.take(1)[0]
        need(byte < 2, "neither 0 nor 1")
        return bool(byte)

    def count(self):
        return struct.unpack(">I", self.take(4))[0]

    def text(self):
        try:
            return self.take(self.count()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused("not UTF-8") from error

    def members(self, depth):
        found = {}
        for _ in range(self.count()):
            name = self.text()
            found[name] = self.value(depth)
        return found

    def value(self, depth):
        need(depth <= DEPTH_MAX, "too deep")
        tag = self.take(1)[0]
        need(tag < len(TAGS), "unknown kind")
        kind = TAGS[tag]
        if kind == "null":
            return kind, None
        if kind == "bool":
            return kind, self.flag()
        if kind in ("int", "float"):
            return kind, struct.unpack(">q" if kind == "int" else ">d", self.take(8))[0]
        if kind == "list":
            return kind, [self.value(depth + 1) for _ in range(self.count())]
        if kind == "map":
            return kind, self.members(depth + 1)
        if kind == "bytes":
            return kind, self.take(self.count())
        return kind, read_scalar(kind, self.text())


def read_canonical(raw):
    reader = Reader(raw)
    need(reader.take(1) == b"\x01", "unknown version")
    record_id = reader.text()
    previous = reader.text() if reader.flag() else None
    if previous is not None:
        read_revision(previous)
    deleted = reader.flag()
    attributes = reader.members(1)
    # Catches names out of order or twice, other NaNs, and bytes left over.
    need(revision_bytes(record_id, previous, deleted, attributes) == raw, "no writer's bytes")
    return record_id, previous, deleted, attributes


# Section 7: a set of revisions is {revision: [parent or None, deleted, stub]}.


def arrive(tree, path, deleted):
    for place, revision in enumerate(path):
        parent = path[place + 1] if place + 1 < len(path) else None
        node = tree.setdefault(revision, [None, False, True])
        if parent is not None and (node[0] is None or node[0] < parent):
            node[0] = parent
        node[1] = node[1] or (deleted and place == 0)
        node[2] = node[2] and place > 0


def elect(tree):
    parents = {node[0] for node in tree.values()}
    leaves = sorted((revision for revision in tree if revision not in parents), reverse=True)
    living = [leaf for leaf in leaves if not tree[leaf][1]]
    winner = (living or leaves)[0]
    return leaves, winner, [leaf for leaf in living if leaf != winner]


# Section 8: plain JSON.


def plain_value(plain, depth=1):
    need(depth <= DEPTH_MAX, "too deep")
    if plain is None:
        return "null", None
    if isinstance(plain, bool):
        return "bool", plain
    if isinstance(plain, Number):
        return plain_number(plain)
    if isinstance(plain, str):
        utf8(plain)
        return "string", plain
    if isinstance(plain, list):
        return "list", [plain_value(item, depth + 1) for item in plain]
    for name in plain:
        utf8(name)
    return "map", {name: plain_value(item, depth + 1) for name, item in plain.items()}


def plain_number(literal):
    if not re.search("[.eE]", literal) and -(2**63) <= int(literal) < 2**63:
        return "int", int(literal)
    sign, whole, fraction, exponent = re.fullmatch(
        r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?", literal
    ).groups(default="")
    exponent = int(exponent or 0)
    scale = max(0, len(fraction) - exponent)
    need(scale <= FRACTION_DIGITS_MAX and len(whole) + exponent <= WHOLE_DIGITS_MAX, "digits")
    unscaled = int(whole + fraction)
    # Below zero the scale grows no further, so the missing digits are zeros before the point.
    digits = str(unscaled * 10 ** max(0, exponent - len(fraction))).rjust(scale + 1, "0")
    text = digits[: len(digits) - scale] + ("." + digits[-scale:] if scale else "")
    return "decimal", (sign if unscaled else "") + text


# Section 10: records.

RECORD = {"id", "table", "revision", "deleted", "attributes", "revisions", "conflicts"}


def read_record(json_object):
    need(type(json_object) is dict and set(json_object) <= RECORD, "members")
    record_id = json_object.get("id")
    need(1 <= len(utf8(record_id)) <= ID_BYTES_MAX, "record id")
    need(type(json_object.get("deleted", False)) is bool, "deleted")
    read_members(json_object.get("attributes", {}))
    revision = json_object.get("revision")
    if revision is not None:
        read_revision(revision)
    for name in ("revisions", "conflicts"):
        need(isinstance(json_object.get(name) or [], list), name)
    line = json_object.get("revisions")
    if line is not None:
        line = [read_revision(text) for text in line]
        need(line and json_object["revisions"][0] == revision, "itself first")
        need(all(a[0] == b[0] + 1 for a, b in zip(line, line[1:])), "a gap")
    for text in json_object.get("conflicts") or []:
        read_revision(text)


# The files.


def same(got, expected):
    if got != expected:
        raise AssertionError(f"got {got}, expected {expected}")


def check_value(vector):
    same(value_bytes(read_value(vector["value"])).hex(), vector["canonical"])


def check_revision(vector):
    record_id, previous, deleted = vector["id"], vector["previous"], vector["deleted"]
    attributes = read_members(vector["attributes"])
    generation = 1 if previous is None else read_revision(previous)[0] + 1
    raw = revision_bytes(record_id, previous, deleted, attributes)
    same(raw.hex(), vector["canonical"])
    same(f"{generation}-{hashlib.sha256(raw).digest()[:16].hex()}", vector["revision"])
    same(revision_bytes(*read_canonical(raw)), raw)


def check_order(vector):
    ids = [read_revision(text) for text in vector["ascending"]]
    same(ids, sorted(set(ids)))
    keys = [sortable(revision) for revision in ids]
    same([key.hex() for key in keys], vector["sortable"])
    same(keys, sorted(keys))


def check_winner(vector):
    for paths in (vector["paths"], vector["paths"][::-1], vector["paths"] * 2):
        tree = {}
        for path in paths:
            arrive(tree, [read_revision(text) for text in path["revisions"]], path["deleted"])
        leaves, winner, conflicts = elect(tree)
        same(leaves, [read_revision(text) for text in vector["leaves"]])
        same(winner, read_revision(vector["winner"]))
        same(conflicts, [read_revision(text) for text in vector["conflicts"]])


def check_json(vector):
    value = plain_value(parse(vector["json"]))
    same(value, read_value(vector["value"]))
    same(value_bytes(value).hex(), vector["canonical"])


def check_invalid(vector):
    readers = {
        "value": lambda text: read_value(parse(text)),
        "record": lambda text: read_record(parse(text)),
        "revision": read_revision,
        "canonical": lambda text: read_canonical(bytes.fromhex(text)),
    }
    reader = readers[vector["what"]]
    try:
        reader(vector["input"])
    except Refused:
        return
    raise AssertionError("was taken")


CHECKS = {
    "values": check_value,
    "revisions": check_revision,
    "order": check_order,
    "winner": check_winner,
    "json": check_json,
    "invalid": check_invalid,
}


def main():
    failures, checked = [], 0
    sys.set_int_max_str_digits(0)
    for name, check in CHECKS.items():
        vectors = parse((HERE / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
        if len(vectors) < AT_LEAST[name]:
            failures.append(f"{name}.json has {len(vectors)} vectors, not {AT_LEAST[name]}")
        for vector in vectors:
            checked += 1
            try:
                check(vector)
            except (AssertionError, Refused) as error:
                failures.append(f"{name}.json, {vector['name']!r}: {error}")
    for path in sorted(HERE.glob("*.json")):
        if path.stem not in CHECKS:
            failures.append(f"{path.name} is not checked")
    print("\n".join([*failures, f"vectors: {checked} checked"]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
