//! In charge of what a function is handed: SQL expressions by the type of the argument and its name.
//!
//! Expressions and not parameters, so that a call can be pasted into psql, and so that ten megabytes
//! take a line. Nothing in them depends on a setting: texts with backslashes are written as `E''`.

use serde_json::json;

use crate::dice::Dice;
use crate::function::{Argument, Function};
use crate::record::{self, TEXTS};
use crate::table::{Standing, Table};

/// How an argument is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// What the function is meant for.
    Good,
    Null,
    /// Anything of its type.
    Any,
    /// A hundred thousand of something, or ten megabytes.
    Huge,
    /// Of another type, or of none.
    Wrong,
}

/// What a call is about.
pub struct About<'a> {
    pub table: &'a Table,
    pub standing: &'a Standing,
}

/// A text as SQL takes it under any setting.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn jsonb(json: &serde_json::Value) -> String {
    format!("{}::jsonb", literal(&json.to_string()))
}

const RELATIONS: &[&str] = &[
    "fuzz.untracked",
    "fuzz.keyless",
    "fuzz.parted",
    "fuzz.parted_1",
    "fuzz.heir",
    "fuzz.unlogged",
    "fuzz.reserved",
    "fuzz.a23456789012345678901234567890123456789012345678901234567890123",
    "fuzz.looking",
    "fuzz.looked",
    "fuzz.counter",
    "fuzz.untracked_history",
    "fuzz.plain_pkey",
    "fuzz.place",
    "pg_catalog.pg_class",
    "information_schema.tables",
    "godwit.tracked",
    "godwit.rejected",
    "godwit.conflicts",
    "godwit.change_sequence",
    "tenant.own",
    "pg_toast.pg_toast_2618",
];

fn relation(about: &About, good: bool, dice: &mut Dice) -> String {
    let name = match dice.below(if good { 1 } else { 6 }) {
        0 | 1 => about.table.name,
        2 => about.table.twin,
        3 => {
            return (*dice.of(&["0", "1", "12345678", "4294967295", "2147483648", "(-1)::int"]))
                .to_owned();
        }
        4 => return format!("{}::regtype::oid", literal(about.table.name)),
        _ => dice.of(RELATIONS),
    };
    format!("{}::regclass", literal(name))
}

fn text(argument: &str, function: &Function, about: &About, dice: &mut Dice) -> String {
    let good = match argument {
        "id" | "after" => about.standing.id.clone(),
        "revision" | "keep" => about.standing.some.clone().unwrap_or_else(|| "1-a".into()),
        "on_conflict" => (*dice.of(&["fail", "branch"])).into(),
        "include" => (*dice.of(&["none", "records"])).into(),
        "moment" => (*dice.of(&["h._at <= $1", "h._seq <= $1"])).into(),
        "job" => (*dice.of(&["compact", "track_online"])).into(),
        "row_name" => "t".into(),
        "name" if function.bare_name() == "find_table" => about.table.wire_name.into(),
        "name" | "twin_name" => new_name(dice),
        "columns" => {
            (*dice.of(&["a text", "a int not null, b text[]", "", "a fuzz.mood default 'glad'"]))
                .into()
        }
        _ => (*dice.of(TEXTS)).into(),
    };
    format!("{}::text", literal(&good))
}

/// A name that may be taken, may need quotes, or may be too long.
fn new_name(dice: &mut Dice) -> String {
    let names = [
        "fuzz.made",
        "made",
        "fuzz.\"Made, \"\"quoted\"\".dotted\"",
        "fuzz.MADE",
        "\"\"",
        "a.b.c",
        "fuzz.plain",
        "nowhere.made",
        "fuzz.a2345678901234567890123456789012345678901234567890123456",
        "fuzz.\"sélect\"",
        "pg_catalog.made",
        "godwit.made",
        "fuzz.untracked",
    ];
    (*dice.of(&names)).into()
}

fn any_text(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => "repeat('x', 10240)".into(),
        1 => "repeat('é', 512)".into(),
        2 => "repeat('n', 1025)".into(),
        3 => "concat(repeat('9', 16), '-a')".into(),
        4 => "concat('1-', repeat('t', 129))".into(),
        _ => format!("{}::text", literal(dice.pick(TEXTS))),
    }
}

const HUGE_TEXTS: &[&str] = &[
    "repeat('x', 10485760)",
    "repeat('é', 5242880)",
    "repeat('[', 10485760)",
    "repeat('\"', 1048576)",
    "concat('1-', repeat('9', 1048576))",
];

fn good_jsonb(
    argument: &str,
    function: &Function,
    about: &About,
    dice: &mut Dice,
) -> serde_json::Value {
    match (function.bare_name(), argument) {
        (_, "record") => record::edit(about.table, about.standing, dice),
        (_, "records") => record::arrivals(about.table, about.standing, dice),
        (_, "attributes") => record::attributes(about.table, dice),
        (_, "revisions") => {
            let mut asked = serde_json::Map::new();
            for _ in 0..dice.below(5) {
                let known = about.standing.some.clone().unwrap_or_else(|| "1-a".into());
                asked.insert(
                    (*dice.of(about.table.ids)).into(),
                    json!([known, format!("2-{}", dice.token())]),
                );
            }
            asked.into()
        }
        (_, "definition" | "def") => {
            let name = *dice.of(&["made", "fuzz.made", "Ma\"de", ""]);
            record::definition(name, dice)
        }
        (_, "extra") => json!({"name": {"string": "a"}, "_foreign": true}),
        _ => json!({"a": {"b": [1, "two", null]}}),
    }
}

const DEEP: &[&str] = &[
    "concat(repeat('[', 10), repeat(']', 10))::jsonb",
    "concat(repeat('[', 130), repeat(']', 130))::jsonb",
    "concat(repeat('{\"a\":', 1000), '1', repeat('}', 1000))::jsonb",
    "concat(repeat('[', 5000), repeat(']', 5000))::jsonb",
    "concat('{\"id\":\"1\",\"attributes\":{\"name\":', repeat('{\"list\":[', 1000), '{\"int\":\"1\"}', repeat(']}', 1000), '}}')::jsonb",
];

fn any_jsonb(argument: &str, function: &Function, about: &About, dice: &mut Dice) -> String {
    match dice.below(10) {
        0 => jsonb(dice.of(&[
            json!(null),
            json!(true),
            json!(1),
            json!("1-a"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([null, {}]),
        ])),
        1 => (*dice.of(DEEP)).to_owned(),
        2 => format!(
            "'{{\"id\": \"1\", \"id\": \"2\", \"attributes\": {{\"name\": {{\"int\": {}}}}}}}'::jsonb",
            dice.of(&["1e400", "1", "123456789012345678901234567890", "-0.0"])
        ),
        _ => {
            let good = good_jsonb(argument, function, about, dice);
            jsonb(&record::mangle(good, dice))
        }
    }
}

fn huge_jsonb(argument: &str, dice: &mut Dice) -> String {
    let line = "(select jsonb_agg(concat(100001 - g, '-a')) from generate_series(1, 100000) g)";
    let known = match argument {
        "records" => vec![
            "(select jsonb_agg(jsonb_build_object('id', g::text, 'revision', concat('1-', g), 'attributes', '{}'::jsonb)) from generate_series(1000, 100999) g)".to_owned(),
            "(select jsonb_agg(jsonb_build_object('id', '1', 'revision', concat('1-', g), 'deleted', true)) from generate_series(1, 20000) g)".to_owned(),
            "(select jsonb_agg(jsonb_build_object('id', '', 'revision', 'x')) from generate_series(1, 100000) g)".to_owned(),
            format!("jsonb_build_array(jsonb_build_object('id', '1', 'revision', '100000-a', 'revisions', {line}))"),
            "(select jsonb_agg(null::text) from generate_series(1, 100000) g)".to_owned(),
        ],
        "revisions" => vec![
            "(select jsonb_object_agg(g::text, '[\"1-a\"]'::jsonb) from generate_series(1, 100000) g)".to_owned(),
            format!("jsonb_build_object('1', {line})"),
        ],
        _ => vec![
            "(select jsonb_object_agg(concat('a', g), '{\"int\": \"1\"}'::jsonb) from generate_series(1, 100000) g)".to_owned(),
            "jsonb_build_object('id', '1', 'attributes', jsonb_build_object('name', jsonb_build_object('string', repeat('x', 10485760))))".to_owned(),
            "jsonb_build_object('id', repeat('x', 10485760), 'attributes', '{}'::jsonb)".to_owned(),
            "jsonb_build_object('id', '1', 'revision', concat('1-', repeat('x', 10485760)))".to_owned(),
            format!("jsonb_build_object('id', '1', 'revision', '100000-a', 'revisions', {line})"),
            "jsonb_build_object('id', '1', 'attributes', jsonb_build_object('ints', jsonb_build_object('list', (select jsonb_agg('{\"int\": \"1\"}'::jsonb) from generate_series(1, 100000)))))".to_owned(),
            "jsonb_build_object('name', 'fuzz.made', 'columns', (select jsonb_agg(jsonb_build_object('name', concat('c', g), 'type', 'text')) from generate_series(1, 2000) g))".to_owned(),
        ],
    };
    dice.of(&known).clone()
}

/// A row, right or wrong, or no row at all.
fn row(function: &Function, about: &About, good: bool, dice: &mut Dice) -> String {
    let (table, twin) = (about.table.name, about.table.twin);
    let of_table = format!("(select r from {table} r limit 1)");
    let of_twin = format!("(select r from {twin} r order by r._id, r._seq limit 1)");
    if good {
        return match function.bare_name() {
            "as_of" => format!("null::{table}"),
            "_sees" | "_record" | "_is_hashed" => of_twin,
            "_record_id" | "_first_revision" => "row(1, 'x'::text)".into(),
            _ => of_table,
        };
    }
    let forged = [
        json!({}),
        json!({"_id": "1", "_rev": "1-a"}),
        json!({"_id": "1", "_rev": "1-a", "_deleted": false, "_stub": false, "_seq": 1, "_extra": {"name": {"int": "x"}}}),
        json!({"_id": "a", "_rev": "9007199254740991-z", "_extra": [1], "_seq": -1, "_stub": false, "_deleted": false}),
        json!({"_id": "", "_rev": "1-a", "_extra": {"a": {}, "_foreign": 1}, "_seq": 1}),
    ];
    match dice.below(14) {
        0 => of_table,
        1 => of_twin,
        2 => format!("null::{table}"),
        3 => format!("null::{twin}"),
        4 => format!("jsonb_populate_record(null::{twin}, {})", jsonb(dice.of(&forged))),
        5 => format!(
            "jsonb_populate_record(null::{table}, {})",
            jsonb(&json!({"id": 1, "_rev": "1-a"}))
        ),
        6 => "row(1, 'x'::text, null::text)".into(),
        7 => "row()".into(),
        8 => "row(1, array[1, 2], row('a'::text, 1.5, '{}'::text[])::fuzz.place)::record".into(),
        9 => "row('a', 1.5, '{b,NULL}')::fuzz.place".into(),
        10 => "'1-a'::godwit.revision".into(),
        11 => "(select c from pg_catalog.pg_class c limit 1)".into(),
        12 => (*dice.of(&[
            "1",
            "'x'::text",
            "1.5",
            "true",
            "array[1]",
            "array[array[null::int]]",
            "'{}'::jsonb",
            "null",
            "null::int",
            "now()",
            "'{}'::int[]",
            "'NaN'::float8",
            "'x'::fuzz.filled",
            "'glad'::fuzz.mood",
            "repeat('x', 2000)",
            "'infinity'::date",
            "row(row(row(1)))",
        ]))
        .into(),
        _ => "null::record".into(),
    }
}

fn huge(type_name: &str, argument: &str, dice: &mut Dice) -> Option<String> {
    Some(match type_name {
        "pg_catalog.text" => (*dice.of(HUGE_TEXTS)).to_owned(),
        "pg_catalog.cstring" => "'1-a'::cstring".to_owned(),
        "pg_catalog.jsonb" => huge_jsonb(argument, dice),
        "pg_catalog._text" => (*dice.of(&[
            "array_fill(null::text, array[100000])",
            "(select array_agg(g::text) from generate_series(1, 100000) g)",
            "(select array_agg(concat(g, '-a')) from generate_series(1, 100000) g)",
            "array[repeat('x', 10485760)]",
        ]))
        .to_owned(),
        "pg_catalog._int8" => {
            "(select array_agg(g) from generate_series(1::bigint, 100000) g)".to_owned()
        }
        "pg_catalog._oid" => {
            "(select array_agg(g::oid) from generate_series(1, 100000) g)".to_owned()
        }
        "pg_catalog._regtype" => "array_fill('text'::regtype, array[100000])".to_owned(),
        "pg_catalog.anyelement" => (*dice.of(&[
            "row(repeat('x', 10485760))",
            "row(array_fill(1, array[100000]))",
            "array_fill('x'::text, array[100000])",
            "row(concat(repeat('[', 2000), repeat(']', 2000))::json)",
        ]))
        .to_owned(),
        _ => return None,
    })
}

/// An expression for an argument.
pub fn expression(
    function: &Function,
    argument: &Argument,
    choice: Choice,
    about: &About,
    dice: &mut Dice,
) -> String {
    let type_name = argument.type_name.as_str();
    let choice = if choice == Choice::Any && dice.once_in(9) { Choice::Null } else { choice };
    let good = choice == Choice::Good;
    match choice {
        Choice::Null if type_name == "pg_catalog.anyelement" => {
            return format!("null::{}", about.table.name);
        }
        Choice::Null => return format!("null::{type_name}"),
        Choice::Wrong => {
            return (*dice.of(&[
                "1",
                "'x'",
                "null",
                "array[1]",
                "row(1)",
                "1.5",
                "now()",
                "'{}'::jsonb",
                "'x'::text",
            ]))
            .to_owned();
        }
        Choice::Huge => {
            if let Some(expression) = huge(type_name, &argument.name, dice) {
                return expression;
            }
        }
        _ => {}
    }
    match type_name {
        "pg_catalog.oid" | "pg_catalog.regclass" => {
            let what = match (argument.name.as_str(), good) {
                ("twin", true) => format!("{}::regclass", literal(about.table.twin)),
                ("row_type", true) => format!("{}::regtype", literal(about.table.name)),
                _ => relation(about, good, dice),
            };
            format!("({what})::{type_name}")
        }
        "pg_catalog.text" if good => text(&argument.name, function, about, dice),
        "pg_catalog.text" => any_text(dice),
        "pg_catalog.cstring" => format!("{}::cstring", literal(dice.pick(TEXTS))),
        "pg_catalog.jsonb" if good => jsonb(&good_jsonb(&argument.name, function, about, dice)),
        "pg_catalog.jsonb" => any_jsonb(&argument.name, function, about, dice),
        "pg_catalog.anyelement" => row(function, about, good, dice),
        "godwit.revision" => {
            let known = about.standing.some.as_deref().unwrap_or("1-a");
            let odd: [&str; 6] = [
                "1-a",
                "9007199254740991-z",
                "2-96fc52d8fbf5d2adc6d139cb5b2ea099",
                known,
                "x",
                "0-a",
            ];
            format!(
                "{}::godwit.revision",
                literal(if good { known } else { odd[dice.below(odd.len())] })
            )
        }
        "pg_catalog._text" => texts(&argument.name, about, good, dice),
        "pg_catalog._int8" => (*dice.of(&[
            "'{1,2}'::bigint[]",
            "'{}'::bigint[]",
            "'{NULL,1}'::bigint[]",
            "'{{1,2},{3,4}}'::bigint[]",
            "'[5:6]={1,9223372036854775807}'::bigint[]",
        ]))
        .to_owned(),
        "pg_catalog._oid" => (*dice.of(&[
            "'{}'::oid[]",
            "'{NULL}'::oid[]",
            "'{0,4294967295}'::oid[]",
            "'{{1},{2}}'::oid[]",
            "array['fuzz.plain'::regclass::oid]",
            "array['fuzz.plain'::regclass::oid, 'fuzz.secured'::regclass]",
        ]))
        .to_owned(),
        "pg_catalog._regtype" => {
            (*dice.of(&["'{text}'::regtype[]", "'{}'::regtype[]", "'{NULL,int}'::regtype[]"]))
                .to_owned()
        }
        "pg_catalog.int4" if good => (*dice.of(&["1", "10", "1000"])).to_owned(),
        "pg_catalog.int4" => {
            (*dice.of(&["0", "1", "-1", "1000", "100000", "100001", "2147483647", "(-2147483648)"]))
                .to_owned()
        }
        "pg_catalog.int8" if good => format!("{}::bigint", dice.below(2000)),
        "pg_catalog.int8" => (*dice.of(&[
            "0::bigint",
            "1::bigint",
            "(-1)::bigint",
            "9007199254740991",
            "9007199254740992",
            "9223372036854775807",
            "(-9223372036854775808)::bigint",
        ]))
        .to_owned(),
        "pg_catalog.int2" => (*dice.of(&["0::int2", "(-1)::int2", "32767::int2"])).to_owned(),
        "pg_catalog.bool" => (*dice.of(&["true", "false"])).to_owned(),
        "pg_catalog.interval" => (*dice.of(&[
            "'1 day'::interval",
            "'0'::interval",
            "'-1 day'::interval",
            "'178000000 years'::interval",
            "'-178000000 years'::interval",
            "make_interval(secs => 0.000001)",
            "'1 mon -1 day'::interval",
        ]))
        .to_owned(),
        "pg_catalog.timestamptz" => (*dice.of(&[
            "now()",
            "'infinity'::timestamptz",
            "'-infinity'::timestamptz",
            "'4713-01-02 BC'::timestamptz",
            "'294276-01-01'::timestamptz",
            "to_timestamp(0)",
        ]))
        .to_owned(),
        "pg_catalog.bytea" => (*dice.of(&["''::bytea", "decode('00ff', 'hex')"])).to_owned(),
        _ => format!("null::{type_name}"),
    }
}

fn texts(argument: &str, about: &About, good: bool, dice: &mut Dice) -> String {
    if good {
        let texts = match argument {
            "tables" => vec![about.table.wire_name.to_owned()],
            "leaves" => about.standing.shown.iter().cloned().collect(),
            "names" => vec!["fuzz".into(), "made".into()],
            "key" => vec!["id".into()],
            _ => vec!["a".into(), "b".into()],
        };
        let list: Vec<String> = texts.iter().map(|text| literal(text)).collect();
        return format!("array[{}]::text[]", list.join(", "));
    }
    match dice.below(8) {
        0 => "'{}'::text[]".into(),
        1 => "'{NULL}'::text[]".into(),
        2 => "'{a,NULL,b}'::text[]".into(),
        3 => "'{{a,b},{c,d}}'::text[]".into(),
        4 => "'[5:6]={a,1-a}'::text[]".into(),
        5 => "array_fill(null::text, array[0])".into(),
        _ => format!("array[{}, {}]::text[]", literal(dice.pick(TEXTS)), literal(dice.pick(TEXTS))),
    }
}
