//! In charge of the tables that a target must have before anything is put there.

use std::collections::BTreeSet;

use crate::client::{Client, NewColumn, NewTable, Table};

/// The tables of these names, or all of them, by name.
pub async fn chosen(from: &Client, names: &[String]) -> Result<Vec<Table>, String> {
    let told = |error| format!("{}: {error}", from.url());
    let mut tables = from.tables().await.map_err(told)?;
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    if names.is_empty() {
        return Ok(tables);
    }
    let there: BTreeSet<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let lacking: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !there.contains(name)).collect();
    if !lacking.is_empty() {
        return Err(format!(
            "{} has no tracked table {} that this token may use",
            from.url(),
            lacking.join(", ")
        ));
    }
    tables.retain(|table| names.contains(&table.name));
    Ok(tables)
}

/// Sees to it that the target has the tables; makes them if it may.
pub async fn ensure(to: &Client, tables: &[Table], create: bool) -> Result<(), String> {
    let told = |error| format!("{}: {error}", to.url());
    let there: BTreeSet<String> =
        to.tables().await.map_err(told)?.into_iter().map(|table| table.name).collect();
    let lacking: Vec<&Table> = tables.iter().filter(|t| !there.contains(&t.name)).collect();
    if !create && !lacking.is_empty() {
        let names: Vec<&str> = lacking.iter().map(|table| table.name.as_str()).collect();
        return Err(format!(
            "{} has no tracked table {}: make and track it there, name other tables with --tables, \
             or pass --create-tables",
            to.url(),
            names.join(", ")
        ));
    }
    for table in lacking {
        match to.create_table(&table.name, &like(table)).await {
            Err(error) if error.name() != Some("table_exists") => {
                return Err(format!("{}: table {}: {error}", to.url(), table.name));
            }
            // Somebody else was quicker; or it is there and not tracked, which the first put tells.
            _ => {}
        }
    }
    Ok(())
}

/// A table that holds what the other says. Defaults are expressions of the other's database and stay there:
/// each revision says all that it says.
fn like(table: &Table) -> NewTable {
    let columns =
        table.columns.iter().filter(|column| column.name != "_id" && column.generated.is_none());
    let columns = columns.map(|column| NewColumn {
        name: column.name.clone(),
        kind: column.kind.clone(),
        default: None,
        constraints: column.constraints.clone(),
    });
    NewTable { columns: columns.collect(), metadata: table.metadata.clone() }
}
