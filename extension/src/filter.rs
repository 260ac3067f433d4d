//! In charge of comparisons on a table's columns: `[{"column": "region", "op": "eq", "value": "north"}]`,
//! all of which must hold. Column names and operators are looked up, values stay parameters.

use pgrx::pg_sys;
use serde::Deserialize;

use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::shape::{Column, Shape};
use crate::spi::{self, Arg};

/// Comparisons in one filter, at most.
const COMPARISONS_MAX: usize = 32;
/// Values that one comparison may name.
const VALUES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Comparison {
    column: String,
    op: Operator,
    #[serde(default)]
    value: Option<Operand>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
    /// Takes no value.
    Null,
    NotNull,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Operand {
    One(String),
    Many(Vec<String>),
}

pub struct Filter {
    comparisons: Vec<Comparison>,
}

impl Filter {
    pub fn read(json: &Json) -> Result<Filter, Error> {
        let comparisons: Vec<Comparison> =
            serde_json::from_value(json.read()?).map_err(|error| {
                Error::BadArgument(format!(
                    "the filter is [{{\"column\": …, \"op\": …, \"value\": …}}, …]: {error}"
                ))
            })?;
        if comparisons.is_empty() || comparisons.len() > COMPARISONS_MAX {
            let reason = format!("a filter has 1 to {COMPARISONS_MAX} comparisons");
            return Err(Error::BadArgument(reason));
        }
        Ok(Filter { comparisons })
    }

    /// The values that `condition` refers to, as one array of texts.
    pub fn values(&self) -> Arg {
        let values = self.comparisons.iter().flat_map(Comparison::values);
        spi::texts(values.map(String::as_str))
    }

    /// The filter as SQL on a row by this alias, of the table or of its twin; `array` is the parameter that
    /// the values stand in.
    pub fn condition(&self, shape: &Shape, row: &str, array: &str) -> Result<String, Error> {
        let mut next = 1..;
        let parts: Result<Vec<String>, Error> = self
            .comparisons
            .iter()
            .map(|comparison| comparison.sql(shape, row, array, &mut next))
            .collect();
        Ok(format!("({})", parts?.join(" and ")))
    }
}

impl Comparison {
    fn values(&self) -> &[String] {
        match &self.value {
            None => &[],
            Some(Operand::One(value)) => std::slice::from_ref(value),
            Some(Operand::Many(values)) => values,
        }
    }

    fn sql(
        &self,
        shape: &Shape,
        row: &str,
        array: &str,
        next: &mut impl Iterator<Item = usize>,
    ) -> Result<String, Error> {
        let table = &shape.wire_name;
        let column = shape.columns.iter().find(|column| column.name == self.column);
        let Some(column) = column.filter(|column| !column.generated) else {
            let name = crate::put::short(&self.column);
            return Err(Error::BadArgument(format!("{table} has no stored column {name:?}")));
        };
        let fits = match self.op {
            Operator::Null | Operator::NotNull => self.value.is_none(),
            Operator::In => {
                matches!(&self.value, Some(Operand::Many(v)) if !v.is_empty() && v.len() <= VALUES_MAX)
            }
            _ => matches!(&self.value, Some(Operand::One(_))),
        };
        if !fits {
            return Err(Error::BadArgument(format!(
                "column {:?}: in takes 1 to {VALUES_MAX} values, null and notnull none, other comparisons one",
                self.column
            )));
        }
        let name = format!("{row}.{}", column.quoted);
        let strategy = match self.op {
            Operator::Null => return Ok(format!("{name} is null")),
            Operator::NotNull => return Ok(format!("{name} is not null")),
            Operator::Lt => 1,
            Operator::Lte => 2,
            Operator::Eq | Operator::Neq | Operator::In => 3,
            Operator::Gte => 4,
            Operator::Gt => 5,
        };
        let operator = operator(shape, column, strategy)?;
        let compared: Vec<String> = self
            .values()
            .iter()
            .zip(next)
            .map(|(_, number)| {
                format!("{name} {operator} (({array})[{number}])::{}", column.type_name)
            })
            .collect();
        let compared = compared.join(" or ");
        Ok(match self.op {
            Operator::Neq => format!("not ({compared})"),
            _ => format!("({compared})"),
        })
    }
}

/// The operator of the type's own order; its number is that of a B-tree's strategy.
fn operator(shape: &Shape, column: &Column, strategy: i64) -> Result<String, Error> {
    let sql = "select pg_catalog.format('operator(%I.%s)', n.nspname, o.oprname)
                 from pg_catalog.pg_amop m
                 join pg_catalog.pg_operator o on o.oid = m.amopopr
                 join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
                where m.amopfamily = $1 and m.amoplefttype = $2 and m.amoprighttype = $2 and m.amopstrategy = $3";
    // SAFETY: the entry lives as long as the backend.
    let (family, opclass_type) = unsafe {
        let entry = pg_sys::lookup_type_cache(
            column.codec.type_oid,
            pg_sys::TYPECACHE_BTREE_OPFAMILY as i32,
        );
        ((*entry).btree_opf, (*entry).btree_opintype)
    };
    let args = [spi::oid(family), spi::oid(opclass_type), spi::int8(strategy)];
    spi::rows(sql, &args, |row| row.need(1)).into_iter().next().ok_or_else(|| {
        let table = &shape.wire_name;
        Error::BadArgument(format!(
            "column {:?} of {table} is of type {}, which has no order to compare by",
            column.name,
            column.shown_type()
        ))
    })
}

/// A filter that may be left out.
pub fn read(json: Option<Json>) -> Option<Filter> {
    json.map(|json| Filter::read(&json).or_report())
}
