//! In charge of what isn't a function call: an app's plain SQL, and our trigger functions on tables that
//! they weren't made for.

use crate::argument::literal;
use crate::dice::Dice;
use crate::record::TEXTS;

/// What apps do meanwhile; it may fail as theirs may.
pub fn of_an_app(dice: &mut Dice) -> String {
    let number = dice.below(8);
    let text = literal(dice.pick(TEXTS));
    match dice.below(14) {
        0 => format!("insert into fuzz.plain (id, name) values ({number}, {text}) on conflict (id) do update set name = excluded.name"),
        1 => format!("update fuzz.plain set n = {number}, at = now() where id operator(pg_catalog.<=) {number}"),
        2 => format!("delete from fuzz.plain where id operator(pg_catalog.=) {number}"),
        3 => "truncate fuzz.pair".into(),
        4 => format!("insert into fuzz.pair (a, b) select {text}, '2026-01-01'::date operator(pg_catalog.+) g from generate_series(1, 3) g on conflict do nothing"),
        5 => format!("insert into public.notes (_id, title) values ({text}, {text}) on conflict (_id) do update set body = excluded.title"),
        6 => format!("insert into fuzz.triggered (id, n, said) values ({text}, 1, 'raise n') on conflict (id) do update set n = 2"),
        7 => format!("insert into fuzz.child values ({number}, {number}, {text}) on conflict (id) do update set name = excluded.name"),
        8 => format!("insert into fuzz.documents values ({number}, '{{\"$serde_json::private::Number\": \"x\"}}', {text}) on conflict (id) do update set b = to_jsonb(excluded.id)"),
        9 => format!("insert into fuzz.documents values ({number}, concat(repeat('[', 70), repeat(']', 70))::json, null)"),
        10 => format!("insert into fuzz.composites values ({number}, row({text}, 'NaN', array[null, {text}]), array[null, row(null, null, null)]::fuzz.place[]) on conflict (id) do update set at = null"),
        11 => "merge into fuzz.altered t using (values (1), (9)) v(id) on t.id operator(pg_catalog.=) v.id when matched then update set kept = 'merged' when not matched then insert (id) values (v.id)".into(),
        12 => format!("insert into fuzz.types (id, span, cash, during, single, code) values ({number}, '1 mon -1 day', 12.5, '[2026-01-01,infinity)', '\u{e9}', {text}) on conflict (id) do update set clock = '24:00'"),
        _ => format!("update fuzz.generated set a = {number}; insert into fuzz.generated (a) values ({number})"),
    }
}

/// Triggers as anybody may make them on a table of their own.
pub fn of_a_meddler(dice: &mut Dice) -> String {
    let function = *dice.of(&["_stamp", "_capture", "_reconcile"]);
    let timing = *dice.of(&["before", "after"]);
    let event = *dice.of(&["insert", "update", "delete", "truncate", "insert or update or delete"]);
    let tables = match (timing, event, dice.below(3)) {
        ("after", "insert", 1) => "referencing new table as godwit_new",
        ("after", "insert", 2) => "referencing new table as other",
        ("after", "update", 1) => "referencing old table as godwit_old new table as godwit_new",
        ("after", "update", 2) => "referencing new table as godwit_new",
        ("after", "delete", 1) => "referencing old table as godwit_old",
        _ => "",
    };
    let each = if event == "truncate" { "statement" } else { *dice.of(&["row", "statement"]) };
    let table = *dice.of(&["tenant.own", "tenant.tracked", "tenant.tracked_history"]);
    let columns = if table == "tenant.tracked_history" {
        "(_id, _rev, _seq) values ('9', '1-a', 9)"
    } else {
        "values (9, 'nine')"
    };
    format!(
        "create trigger \"0meddle\" {timing} {event} on {table} {tables} for each {each} execute function godwit.{function}({});
         insert into {table} {columns}; update {table} set name = 'other'; delete from {table}; truncate {table}",
        dice.of(&["", "'x'", "'a', 'b'"])
    )
}
