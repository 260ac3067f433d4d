//! In charge of the tracked tables that are fuzzed, and of what is in them right now.

use tokio_postgres::Client;

use crate::dice::Dice;

pub struct Table {
    /// As SQL names it under any search path.
    pub name: &'static str,
    pub twin: &'static str,
    pub wire_name: &'static str,
    /// Record ids that its key can hold.
    pub ids: &'static [&'static str],
    /// Attributes and their types, read from the database.
    pub columns: Vec<(String, String)>,
}

const ODD: &str = r#""Fuzz ""odd"".schema"."Quoted ""Na.me"" é""#;
const ODD_TWIN: &str = r#""Fuzz ""odd"".schema"."Quoted ""Na.me"" é_history""#;
const NUMBERS: &[&str] = &["1", "2", "3", "4", "5", "6", "7", "-1", "2147483647"];
const TEXTS: &[&str] = &[
    "a",
    "b",
    "c",
    "",
    " ",
    "A.b",
    "o'clock",
    "\"quoted\"",
    "back\\slash",
    "1-a",
    "[\"a\",\"b\"]",
    "{}",
    "\u{ffff}",
    "\\ud800",
    "null",
    "%I",
    "\u{1}\u{7f}",
    "é",
    "e\u{301}",
    "🦅",
];

/// Name, twin, name on the wire, ids.
type Named = (&'static str, &'static str, &'static str, &'static [&'static str]);

const TABLES: &[Named] = &[
    ("fuzz.plain", "fuzz.plain_history", "fuzz.plain", NUMBERS),
    (
        "fuzz.pair",
        "fuzz.pair_history",
        "fuzz.pair",
        &[
            r#"["k1","2026-01-06"]"#,
            r#"["k2","2026-01-07"]"#,
            r#"["","0001-01-01"]"#,
            r#"["\"","infinity"]"#,
            r#"["k.'\\","2026-02-28"]"#,
            r#"["é","4713-01-01 BC"]"#,
        ],
    ),
    (
        ODD,
        ODD_TWIN,
        "Fuzz \"odd\".schema.Quoted \"Na.me\" é",
        &["1", "2", "9223372036854775807", "-9223372036854775808"],
    ),
    ("fuzz.domains", "fuzz.domains_history", "fuzz.domains", &["a", "b", "a-1", "0"]),
    (
        "fuzz.arrays",
        "fuzz.arrays_history",
        "fuzz.arrays",
        &[
            "00000000-0000-0000-0000-000000000001",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "0192f0c1-2345-7abc-8def-0123456789ab",
        ],
    ),
    ("fuzz.documents", "fuzz.documents_history", "fuzz.documents", NUMBERS),
    ("fuzz.composites", "fuzz.composites_history", "fuzz.composites", NUMBERS),
    ("fuzz.generated", "fuzz.generated_history", "fuzz.generated", NUMBERS),
    (
        "fuzz.types",
        "fuzz.types_history",
        "fuzz.types",
        &["1", "1.0", "1.00", "-0.5", "NaN", "Infinity", "1000000000000000000000"],
    ),
    ("fuzz.secured", "fuzz.secured_history", "fuzz.secured", &["a", "b", "c", "d"]),
    ("fuzz.child", "fuzz.child_history", "fuzz.child", NUMBERS),
    ("fuzz.altered", "fuzz.altered_history", "fuzz.altered", NUMBERS),
    ("fuzz.triggered", "fuzz.triggered_history", "fuzz.triggered", TEXTS),
    ("public.notes", "public.notes_history", "notes", TEXTS),
    ("tenant.tracked", "tenant.tracked_history", "tenant.tracked", NUMBERS),
];

const COLUMNS: &str = "
    select a.attname, format_type(case t.typtype when 'd' then t.typbasetype else t.oid end, null)
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid = ($1::text)::regclass and a.attnum > 0 and not a.attisdropped
       and a.attname not in ('_rev', '_id')
     order by a.attnum";

impl Table {
    pub async fn all(sql: &Client) -> Result<Vec<Table>, tokio_postgres::Error> {
        let mut tables = Vec::new();
        for (name, twin, wire_name, ids) in TABLES {
            let rows = sql.query(COLUMNS, &[name]).await?;
            let columns = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            tables.push(Table { name, twin, wire_name, ids, columns });
        }
        Ok(tables)
    }
}

/// A record of a table as it stands: what a call that is meant to succeed is made of.
pub struct Standing {
    pub id: String,
    /// The revision that the table shows; none where the record isn't there.
    pub shown: Option<String>,
    /// Some revision that the history has.
    pub some: Option<String>,
}

impl Standing {
    pub async fn of(
        sql: &Client,
        table: &Table,
        dice: &mut Dice,
    ) -> Result<Standing, tokio_postgres::Error> {
        let id = (*dice.of(table.ids)).to_owned();
        let query = format!(
            "select h._rev::text, not _deleted and not _stub and not exists (
                        select from {0} c where c._id = h._id and c._prev operator(godwit.=) h._rev)
               from {0} h where _id = $1::text order by 2 desc, h._rev using operator(godwit.>) limit 20",
            table.twin
        );
        let rows = sql.query(&query, &[&id]).await?;
        let shown = rows.first().filter(|row| row.get(1)).map(|row| row.get(0));
        let some = (!rows.is_empty()).then(|| rows[dice.below(rows.len())].get(0));
        Ok(Standing { id, shown, some })
    }
}
