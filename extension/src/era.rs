//! In charge of what ALTER TABLE has changed about a twin's columns: which of them hold which attribute
//! in a revision of a given number. A revision stays what was hashed, whatever its table has become.

use pgrx::pg_sys;

use crate::own;
use crate::shape::Column;
use crate::spi;

pub struct Era {
    /// The twin's column.
    pub column: String,
    /// The attribute's name in the revisions of that time.
    pub attribute: String,
    pub since: i64,
    pub until: Option<i64>,
    /// The column of the table that took over what stood here, under whatever name: this one, or the one
    /// that a change of type has made in its place.
    heir: Option<String>,
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
        let mut eras = own::rows_about(relation, c"era", c"era_pkey", |row| Era {
            column: row.need(2),
            attribute: row.need(3),
            since: row.need(4),
            until: row.get(5),
            heir: None,
        });
        eras.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.column.cmp(&b.column)));
        Eras(eras).with_heirs()
    }

    /// From the latest to the first, for an heir is later. Renamed or retyped, an attribute goes on from the very
    /// number at which it ended.
    fn with_heirs(mut self) -> Eras {
        for at in (0..self.0.len()).rev() {
            let era = &self.0[at];
            let continues = |next: &&Era| {
                let is_same = next.column == era.column || next.attribute == era.attribute;
                Some(next.since) == era.until && is_same
            };
            let heir = match era.until {
                None => Some(era.column.clone()),
                Some(_) => self.0.iter().find(continues).and_then(|next| next.heir.clone()),
            };
            self.0[at].heir = heir;
        }
        self
    }

    /// Whether every column has always held its own attribute.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a revision of this number was made before the table had this column.
    pub fn predates(&self, column: &str, number: i64) -> bool {
        self.open(column).is_some_and(|era| number < era.since)
    }

    /// Whether what the table shows of old revisions may be a cast, by way of a text that any setting may change.
    pub fn are_cast(&self) -> bool {
        self.0.iter().any(|era| self.open(&era.column).is_none())
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
        let named = self.0.iter().rev().filter(|era| era.attribute == attribute);
        named.filter_map(|era| era.heir.as_deref()).next()
    }

    /// Former names of a column of the table, the latest first.
    pub fn former_names(&self, column: &str) -> impl Iterator<Item = &str> {
        let column = column.to_owned();
        self.0
            .iter()
            .rev()
            .filter(move |era| era.heir.as_ref() == Some(&column) && era.attribute != column)
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

    /// What a column has been or has taken over, if that was not always here. What only had its name, and was dropped,
    /// is another column's.
    fn eras_of(&self, column: &Column) -> impl Iterator<Item = &Era> {
        self.0.iter().filter(|era| era.heir.as_deref() == Some(column.name.as_str()))
    }

    fn open(&self, column: &str) -> Option<&Era> {
        self.0.iter().find(|era| era.column == column && era.until.is_none())
    }
}
