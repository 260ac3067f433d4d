//! In charge of what ALTER TABLE has changed about a twin's columns: which of them hold which attribute
//! in a revision of a given number. A revision stays what was hashed, whatever its table has become.

use pgrx::pg_sys;

use crate::shape::Column;
use crate::spi;

pub struct Era {
    /// The twin's column.
    pub column: String,
    /// The attribute's name in the revisions of that time.
    pub attribute: String,
    pub since: i64,
    pub until: Option<i64>,
}

impl Era {
    pub fn holds(&self, number: i64) -> bool {
        self.since <= number && self.until.is_none_or(|until| number < until)
    }
}

#[derive(Default)]
pub struct Eras(Vec<Era>);

impl Eras {
    pub fn of(relation: pg_sys::Oid) -> Eras {
        let sql = "select twin_column, attribute, since, until from godwit.era
                    where relation = $1 order by since, twin_column";
        Eras(spi::rows(sql, &[spi::oid(relation)], |row| Era {
            column: row.need(1),
            attribute: row.need(2),
            since: row.need(3),
            until: row.get(4),
        }))
    }

    /// Whether every column has always held its own attribute.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a revision of this number was made before the table had this column.
    pub fn predates(&self, column: &str, number: i64) -> bool {
        self.open(column).is_some_and(|era| number < era.since)
    }

    /// The number from which on every column holds its own attribute.
    pub fn settled(&self) -> i64 {
        self.0.iter().map(|era| era.until.unwrap_or(era.since)).max().unwrap_or(0)
    }

    /// Columns that held another attribute, or one that the table has no more, in a revision of this
    /// number.
    pub fn former(&self, number: i64) -> impl Iterator<Item = &Era> {
        self.0.iter().filter(move |era| era.until.is_some() && era.holds(number))
    }

    /// The column that an attribute's former name stands for now.
    pub fn column_of_former(&self, attribute: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|era| era.attribute == attribute && self.open(&era.column).is_some())
            .map(|era| era.column.as_str())
    }

    /// Former names of a column of the table, the latest first.
    pub fn former_names(&self, column: &str) -> impl Iterator<Item = &str> {
        let column = column.to_owned();
        self.0
            .iter()
            .rev()
            .filter(move |era| era.column == column && era.attribute != column)
            .map(|era| era.attribute.as_str())
    }

    /// SQL for the value that a column of the table has in a revision `h` of the twin.
    pub fn value(&self, column: &Column) -> String {
        let stored = format!("h.{}", column.quoted);
        let default = match &column.default {
            Some(expression) => format!("({expression})::{}", column.type_name),
            None => "null".to_owned(),
        };
        let absent = format!(
            "{stored} is null and h._extra -> {} = '{{}}'::pg_catalog.jsonb",
            spi::literal(&column.name)
        );
        let mut cases = Vec::new();
        if column.default.is_some() {
            cases.push(format!("when {absent} then {default}"));
        }
        if self.open(&column.name).is_some() {
            for era in &self.0 {
                let within = format!(
                    "when h._seq >= {} and h._seq < {}",
                    era.since,
                    era.until.unwrap_or(i64::MAX)
                );
                if era.column == column.name {
                    cases.push(format!("{within} then {stored}"));
                } else if era.attribute == column.name {
                    let older = crate::shape::quote(&era.column);
                    cases.push(format!("{within} then h.{older}::text::{}", column.type_name));
                }
            }
            return format!("case {} else {default} end", cases.join(" "));
        }
        match cases.is_empty() {
            true => stored,
            false => format!("case {} else {stored} end", cases.join(" ")),
        }
    }

    /// SQL that says whether a revision `h` has this column's attribute, and in this column.
    pub fn says(&self, column: &Column) -> String {
        let since = self.open(&column.name).map_or(0, |era| era.since);
        let name = spi::literal(&column.name);
        format!(
            "h._seq >= {since} and h._extra -> {name} is distinct from '{{}}'::pg_catalog.jsonb"
        )
    }

    fn open(&self, column: &str) -> Option<&Era> {
        self.0.iter().find(|era| era.column == column && era.until.is_none())
    }
}
