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

    /// SQL that says whether a revision `h` is of this time.
    fn within(&self) -> String {
        format!("h._seq >= {} and h._seq < {}", self.since, self.until.unwrap_or(i64::MAX))
    }

    /// SQL for what a revision `h` has here, whatever its type.
    fn text(&self) -> String {
        format!("h.{}::text", crate::shape::quote(&self.column))
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
        for era in self.eras_of(column) {
            let value = match era.column == column.name {
                true => stored.clone(),
                false => format!("{}::{}", era.text(), column.type_name),
            };
            cases.push(format!("when {} then {value}", era.within()));
        }
        let other = if self.open(&column.name).is_some() { default } else { stored.clone() };
        match cases.is_empty() {
            true => stored,
            false => format!("case {} else {other} end", cases.join(" ")),
        }
    }

    /// SQL that says whether a revision `h`, which a row `t` of the table has, says what its column's type doesn't read.
    pub fn is_unreadable(&self, relation: pg_sys::Oid, column: &Column) -> String {
        let (relation, name) = (relation.to_u32(), spi::literal(&column.name));
        let case = |era: &Era| {
            // What the column itself prints, it reads.
            let (text, differs) =
                (era.text(), format!("t.{}::text is distinct from", column.quoted));
            format!(
                "when {} then {differs} {text} and not godwit._reads({relation}::oid, {name}, {text})",
                era.within()
            )
        };
        let others = self.eras_of(column).filter(|era| era.column != column.name);
        let cases: Vec<String> = others.map(case).collect();
        match cases.is_empty() {
            true => "false".to_owned(),
            false => format!("case {} else false end", cases.join(" ")),
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

    /// When a column's attribute stood in this twin's column or in another, if that was not always here.
    fn eras_of(&self, column: &Column) -> impl Iterator<Item = &Era> {
        let has_moved = self.open(&column.name).is_some();
        let is_of = |era: &&Era| era.column == column.name || era.attribute == column.name;
        self.0.iter().filter(move |_| has_moved).filter(is_of)
    }

    fn open(&self, column: &str) -> Option<&Era> {
        self.0.iter().find(|era| era.column == column && era.until.is_none())
    }
}
