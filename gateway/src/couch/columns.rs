//! In charge of what a table's columns hold, so that plain JSON becomes the kind of value that a column stores.
//!
//! What is known is a few seconds old. That costs nothing but form: a value that comes as another kind than the
//! column's is read by the column's type all the same, and is given back as it came.

use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::Caller;
use crate::database::text;
use crate::error::Error;
use crate::routes::Gateway;

const FRESH: Duration = Duration::from_secs(5);
/// Tables that are remembered; with more of them all are forgotten.
const TABLES_MAX: usize = 10_000;

/// How values of a column travel (docs/canonical.md, section 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Int,
    Float,
    Decimal,
    Bytes,
    Date,
    Timestamp,
    Timestamptz,
    Json,
    List(Box<Kind>),
    /// What is a JSON string, boolean or object already.
    Plain,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub kind: Kind,
    /// By Postgres's name, without length or precision.
    pub type_name: String,
    pub is_required: bool,
    pub is_generated: bool,
    /// Part of the record's id.
    pub is_key: bool,
}

/// The columns that are attributes of records, by name.
pub type Columns = BTreeMap<String, Column>;

#[derive(Default)]
pub struct Cache {
    tables: Mutex<HashMap<String, (Instant, Arc<Columns>)>>,
}

#[derive(Deserialize)]
struct Definition {
    columns: Vec<Defined>,
    id_columns: Vec<String>,
}

#[derive(Deserialize)]
struct Defined {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    generated: Option<String>,
    #[serde(default)]
    constraints: Vec<serde_json::Value>,
}

impl Kind {
    /// Of a type by the name that Postgres prints; one that it does not know here is plain.
    fn of(name: &str) -> Kind {
        if let Some(element) = name.strip_suffix("[]") {
            return Kind::List(Box::new(Kind::of(element)));
        }
        match name.split('(').next().unwrap_or_default().trim() {
            "smallint" | "integer" | "bigint" => Kind::Int,
            "real" | "double precision" => Kind::Float,
            "numeric" => Kind::Decimal,
            "bytea" => Kind::Bytes,
            "date" => Kind::Date,
            "timestamp" if name.ends_with("with time zone") => Kind::Timestamptz,
            "timestamp with time zone" => Kind::Timestamptz,
            "timestamp" | "timestamp without time zone" => Kind::Timestamp,
            "json" | "jsonb" => Kind::Json,
            _ => Kind::Plain,
        }
    }
}

impl Cache {
    pub async fn of(
        &self,
        gateway: &Gateway,
        caller: &Caller,
        table: &str,
    ) -> Result<Arc<Columns>, Error> {
        if let Some(known) = self.known(table) {
            return Ok(known);
        }
        let sql = "select godwit.table_def(godwit.find_table($1))::text";
        let found = gateway.database.json(caller, sql, &[text(&table)]).await?;
        let found = found.ok_or_else(|| Error::unavailable("the database gave no answer"))?;
        let definition: Definition = serde_json::from_str(found.get()).map_err(|error| {
            tracing::error!(%error, "a table definition can't be read");
            Error::unavailable("the database answered with what can't be read")
        })?;
        let columns = Arc::new(columns(definition));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES_MAX {
            tables.clear();
        }
        tables.insert(table.to_owned(), (Instant::now(), Arc::clone(&columns)));
        Ok(columns)
    }

    /// A table that was made or dropped here just now.
    pub fn forget(&self, table: &str) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(table);
    }

    fn known(&self, table: &str) -> Option<Arc<Columns>> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, columns) = tables.get(table)?;
        (at.elapsed() < FRESH).then(|| Arc::clone(columns))
    }
}

fn columns(definition: Definition) -> Columns {
    let column = |defined: Defined| {
        let required = |constraint: &serde_json::Value| constraint.get("not_null").is_some();
        let column = Column {
            kind: Kind::of(&defined.kind),
            type_name: defined.kind.split('(').next().unwrap_or_default().trim().to_owned(),
            is_required: defined.constraints.iter().any(required),
            is_generated: defined.generated.is_some(),
            is_key: definition.id_columns.contains(&defined.name),
        };
        (defined.name, column)
    };
    // Of a table whose key is `_id` that column is the record's id and no attribute.
    definition.columns.into_iter().map(column).filter(|(name, _)| name != "_id").collect()
}

/// One column of each kind, under its type's name.
pub fn of_every_kind() -> Columns {
    let types = [
        "integer",
        "double precision",
        "numeric",
        "bytea",
        "date",
        "timestamp with time zone",
        "timestamp without time zone",
        "jsonb",
        "bigint[]",
        "text",
    ];
    let defined = |name: &str| Defined {
        name: name.to_owned(),
        kind: name.to_owned(),
        generated: None,
        constraints: Vec::new(),
    };
    columns(Definition { columns: types.map(defined).into(), id_columns: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_kinds_whatever_their_modifiers() {
        for (name, kind) in [
            ("numeric(10,2)", Kind::Decimal),
            ("timestamp(3) with time zone", Kind::Timestamptz),
            ("timestamp without time zone", Kind::Timestamp),
            ("character varying(20)", Kind::Plain),
            ("bigint[]", Kind::List(Box::new(Kind::Int))),
            ("jsonb", Kind::Json),
            ("public.mood", Kind::Plain),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }
}
