//! In charge of records on the wire: good ones for a table, and what becomes of them when they are
//! mangled.

use serde_json::{Map, Value as Json, json};

use crate::dice::Dice;
use crate::table::{Standing, Table};

/// A string that has been trouble somewhere.
pub const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "null",
    "true",
    "-1",
    "0",
    "007",
    "1e400",
    "NaN",
    "9007199254740992",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "infinity",
    "2026-01-01",
    "2026-02-30",
    "1-a",
    "0-a",
    "01-a",
    "1-",
    "-",
    "1-a,b",
    "1-\"",
    "9007199254740991-z",
    "9007199254740992-z",
    "2-96fc52d8fbf5d2adc6d139cb5b2ea099",
    "a.b.c.d",
    "O'Brien",
    "\"",
    "\\",
    "\\x00",
    "\\ud800",
    "\u{ffff}",
    "\u{feff}",
    "\u{10ffff}",
    "e\u{301}",
    "\u{202e}",
    "🦅",
    "%s%I%L%n",
    "$1",
    "$fuzz$",
    "'; drop schema godwit; --",
    "/*",
    "[\"1\",\"2\"]",
    "[]",
    "[\"a\",null]",
    "{\"a\":1}",
    "\u{1}\t\r\n",
    "fuzz.plain",
    "fuzz.plain_history",
    "Fuzz \"odd\".schema.Quoted \"Na.me\" é",
    "notes",
    "pg_class",
    "{}",
    "{NULL}",
    "{{a},{b}}",
    "(,)",
    "keep",
    "branch",
    "fail",
    "records",
    "none",
    "h._at <= $1",
    "public",
    "_id",
    "_rev",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const KINDS: &[&str] = &[
    "null",
    "bool",
    "int",
    "float",
    "decimal",
    "string",
    "bytes",
    "date",
    "timestamp",
    "list",
    "map",
    "number",
    "",
    "$serde_json::private::Number",
    "$serde_json::private::RawValue",
];

/// The value of an attribute, mostly one that its column takes.
fn value(type_name: &str, dice: &mut Dice) -> Json {
    if dice.once_in(12) {
        return json!({ "null": true });
    }
    if dice.once_in(25) {
        return json!({(dice.pick(KINDS)): dice.pick(TEXTS)});
    }
    let number = dice.below(150).to_string();
    match type_name {
        "integer" | "bigint" | "smallint" => json!({ "int": number }),
        "boolean" => json!({"bool": *dice.of(&["true", "false"])}),
        "numeric" => json!({"decimal": *dice.of(&["1", "12.50", "-0.001", "99999999", "NaN"])}),
        "double precision" | "real" => {
            json!({"float": *dice.of(&["1.5", "-0", "NaN", "Infinity", "1e-7", "0.1"])})
        }
        "bytea" => json!({"bytes": *dice.of(&["", "AAAA", "/+8="])}),
        "date" => json!({"date": *dice.of(&["2026-01-05", "0001-01-01", "9999-12-31"])}),
        "timestamp with time zone" => {
            json!({"timestamp": *dice.of(&["2026-01-05T10:00:00.000000Z", "1970-01-01T00:00:00.123456Z"])})
        }
        "timestamp without time zone" => json!({"timestamp": "2026-01-05T10:00:00.000001"}),
        "json" | "jsonb" => {
            json!({"map": {"a": {"int": number}, "b": {"list": [{"null": true}, {"decimal": "1.50"}]}}})
        }
        "integer[]" | "fuzz.age[]" => {
            json!({"list": [{"int": number}, {"null": true}, {"int": "3"}]})
        }
        "text[]" => {
            json!({"list": [{"string": dice.pick(TEXTS)}, {"null": true}, {"string": "NULL"}]})
        }
        "numeric[]" => {
            json!({"list": [{"list": [{"decimal": "1.0"}]}, {"list": [{"decimal": "2"}]}]})
        }
        "jsonb[]" => json!({"list": [{"map": {}}, {"int": "1"}, {"null": true}]}),
        "fuzz.place" => place(dice),
        "fuzz.place[]" => json!({"list": [place(dice), {"null": true}]}),
        "uuid" => json!({"string": "00000000-0000-0000-0000-000000000001"}),
        "time without time zone" => json!({"string": "10:00:00"}),
        "interval" => json!({"string": *dice.of(&["P1D", "PT1.5S", "-P1Y2M", "3 days"])}),
        "money" => json!({"string": "$1,000.00"}),
        "inet" => json!({"string": "10.0.0.1"}),
        "bit" => json!({"string": "1010"}),
        "fuzz.mood" => json!({"string": *dice.of(&["glad", "so \"so\"", "", "sad"])}),
        "tstzrange" => json!({"string": "[\"2026-01-01 00:00:00+00\",)"}),
        "tsvector" => json!({"string": "'a':1 'b'"}),
        "point" => json!({"string": "(1,2)"}),
        "xid8" => json!({ "string": number }),
        _ => json!({"string": dice.pick(TEXTS)}),
    }
}

fn place(dice: &mut Dice) -> Json {
    json!({"map": {"name": {"string": dice.pick(TEXTS)}, "lat": {"float": "52.1"}, "tags": {"list": []}}})
}

pub fn attributes(table: &Table, dice: &mut Dice) -> Json {
    let mut attributes = Map::new();
    for (name, type_name) in &table.columns {
        // A key is said by the id; a generated column by nobody.
        if name == "id" || name == "The Key" || name == "a" || name == "b" || name == "twice" {
            continue;
        }
        if !dice.once_in(3) {
            attributes.insert(name.clone(), value(type_name, dice));
        }
    }
    if dice.once_in(20) {
        attributes.insert(dice.pick(TEXTS).to_owned(), value("text", dice));
    }
    Json::Object(attributes)
}

/// A local edit of the record as it stands.
pub fn edit(table: &Table, standing: &Standing, dice: &mut Dice) -> Json {
    let mut record = json!({"id": standing.id, "attributes": attributes(table, dice)});
    let edited = if dice.once_in(8) { &standing.some } else { &standing.shown };
    if let Some(revision) = edited {
        record["revision"] = revision.as_str().into();
    }
    if dice.once_in(6) {
        record["deleted"] = true.into();
    }
    if dice.once_in(3) {
        record["table"] = table.wire_name.into();
    }
    record
}

fn generation(revision: &str) -> u64 {
    revision.split_once('-').and_then(|(generation, _)| generation.parse().ok()).unwrap_or(0)
}

/// A revision as a peer sends it.
pub fn arrival(table: &Table, standing: &Standing, dice: &mut Dice) -> Json {
    let mut line = Vec::new();
    let parent = if dice.once_in(4) { None } else { standing.some.clone() };
    let parent = parent.filter(|parent| generation(parent) < 1 << 52);
    let mut next = parent.as_deref().map_or(0, generation);
    line.extend(parent);
    for _ in 0..1 + dice.below(3) {
        next += 1;
        line.insert(0, format!("{next}-{}", dice.token()));
    }
    let id = if dice.once_in(4) { (*dice.of(table.ids)).to_owned() } else { standing.id.clone() };
    let mut record = json!({"id": id, "revision": line[0], "attributes": attributes(table, dice)});
    if !dice.once_in(5) {
        record["revisions"] = json!(line);
    }
    if dice.once_in(8) {
        record["deleted"] = true.into();
    }
    record
}

pub fn arrivals(table: &Table, standing: &Standing, dice: &mut Dice) -> Json {
    (0..1 + dice.below(6)).map(|_| arrival(table, standing, dice)).collect()
}

/// A definition as create_table takes it.
pub fn definition(name: &str, dice: &mut Dice) -> Json {
    let types = [
        "text",
        "integer",
        "numeric(10,2)",
        "timestamp with time zone",
        "text[]",
        "fuzz.mood",
        "jsonb",
        "character varying(5)",
        "no such type",
        "text; drop",
        "int4 -- ",
        "public.notes",
        "interval day to second",
        "float(99)",
        "",
        "char(0)",
    ];
    let columns: Json = (0..dice.below(4))
        .map(|number| {
            let mut column = json!({"name": format!("c{number}"), "type": *dice.of(&types)});
            match dice.below(8) {
                0 => column["default"] = json!({"int": "7"}),
                1 => column["default"] = json!(dice.pick(TEXTS)),
                2 => column["constraints"] = json!([{"not_null": {}}, {"unique": {}}]),
                3 => column["constraints"] = json!([dice.pick(TEXTS)]),
                4 => column["name"] = json!(dice.pick(TEXTS)),
                _ => {}
            }
            column
        })
        .collect();
    json!({"name": name, "columns": columns, "metadata": {"a": 1}})
}

/// What any member may turn into.
fn debris(dice: &mut Dice) -> Json {
    match dice.below(16) {
        0 => Json::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => serde_json::from_str("123456789012345678901234567890").unwrap_or_default(),
        5 => serde_json::from_str("1e400").unwrap_or_default(),
        6 => json!([]),
        7 => json!({}),
        8 => json!([[null], {"a": []}]),
        9 => json!({(dice.pick(KINDS)): dice.pick(TEXTS)}),
        10 => json!({"$serde_json::private::Number": dice.pick(TEXTS)}),
        11 => {
            let depth = *dice.of(&[10, 63, 64, 65, 126, 127, 200]);
            (0..depth).fold(json!({"int": "1"}), |inner, _| json!({"list": [inner]}))
        }
        12 => format!(
            "{}-{}",
            *dice.of(&["0", "1", "2", "9007199254740990", "9007199254740991"]),
            dice.token()
        )
        .into(),
        13 => "x".repeat(*dice.of(&[64, 1024, 1025, 10240])).into(),
        _ => dice.pick(TEXTS).into(),
    }
}

/// Changes one to three places of a JSON value.
pub fn mangle(mut json: Json, dice: &mut Dice) -> Json {
    for _ in 0..1 + dice.below(3) {
        mangle_once(&mut json, dice);
    }
    json
}

fn mangle_once(json: &mut Json, dice: &mut Dice) {
    let deeper = !dice.once_in(4);
    match json {
        Json::Array(items) if deeper && !items.is_empty() => {
            let at = dice.below(items.len());
            match dice.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.insert(at, debris(dice)),
                _ => mangle_once(&mut items[at], dice),
            }
        }
        Json::Object(members) if deeper && !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = dice.of(&names).clone();
            match dice.below(8) {
                0 => drop(members.remove(&name)),
                1 => {
                    let value = members.remove(&name).unwrap_or_default();
                    members.insert(
                        (*dice.of(&[other_case(&name), "id", "int", "string", "list"])).to_owned(),
                        value,
                    );
                }
                2 => drop(members.insert((*dice.of(TEXTS)).to_owned(), debris(dice))),
                _ => {
                    if let Some(value) = members.get_mut(&name) {
                        mangle_once(value, dice);
                    }
                }
            }
        }
        place => *place = debris(dice),
    }
}

/// A name in another case is another name.
fn other_case(name: &str) -> &str {
    match name {
        "id" => "Id",
        "revision" => "rev",
        "int" => "Int",
        other => other,
    }
}
