//! In charge of what two branches' attributes come to: who alone has changed one has it, and a rule
//! decides where both have.

use bigdecimal::BigDecimal;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::canonical;
use crate::json::{FRACTION_DIGITS_MAX, WHOLE_DIGITS_MAX};
use crate::merge::Call;
use crate::policy::{Policy, Rule};
use crate::value::{Attributes, Value};

/// None where both have changed an attribute and no rule says what then.
pub(crate) fn three_way(
    policy: &Policy,
    base: &Attributes,
    ours: &Attributes,
    theirs: &Attributes,
    call: &Call,
) -> Option<Attributes> {
    let names: BTreeSet<&String> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
    let mut merged = Attributes::new();
    for name in names {
        let (was, our, their) = (base.get(name), ours.get(name), theirs.get(name));
        let rule = policy.attributes.get(name);
        // Two that each count one more come to the same value, and mean two more.
        let same = our == their && rule != Some(&Rule::Counter);
        let value = if their == was || same {
            our.cloned()
        } else if our == was {
            their.cloned()
        } else {
            Some(rule?.decide(name, was, our?, their?, call)?)
        };
        if let Some(value) = value {
            merged.insert(name.clone(), value);
        }
    }
    Some(merged)
}

impl Rule {
    fn decide(
        &self,
        name: &str,
        was: Option<&Value>,
        ours: &Value,
        theirs: &Value,
        call: &Call,
    ) -> Option<Value> {
        let ours_if = |is: bool| (if is { ours } else { theirs }).clone();
        match self {
            Rule::Counter => count(was?, ours, theirs),
            Rule::Set => set(was, ours, theirs),
            // Null loses either way.
            Rule::Max | Rule::Min if *ours == Value::Null => Some(theirs.clone()),
            Rule::Max | Rule::Min if *theirs == Value::Null => Some(ours.clone()),
            Rule::Max => compare(ours, theirs).map(|order| ours_if(order.is_ge())),
            Rule::Min => compare(ours, theirs).map(|order| ours_if(order.is_le())),
            Rule::Function(function) => {
                call(function, name, was, ours, theirs).filter(|value| value.validate().is_ok())
            }
        }
    }
}

/// What was, and both differences. Floats are not counted: their sum depends on its order.
fn count(was: &Value, ours: &Value, theirs: &Value) -> Option<Value> {
    if let (Value::Int(was), Value::Int(ours), Value::Int(theirs)) = (was, ours, theirs) {
        let sum = i128::from(*ours) + i128::from(*theirs) - i128::from(*was);
        return i64::try_from(sum).ok().map(Value::Int);
    }
    let sum = number(ours)? + number(theirs)? - number(was)?;
    let text = sum.to_plain_string();
    let whole = text.trim_start_matches('-').split('.').next().unwrap_or_default();
    (whole.len() <= WHOLE_DIGITS_MAX).then_some(Value::Decimal(text))
}

fn number(value: &Value) -> Option<BigDecimal> {
    match value {
        Value::Int(value) => Some(BigDecimal::from(*value)),
        // Reading digits takes more than linear time: no more of them than Postgres holds.
        Value::Decimal(text) if text.len() <= WHOLE_DIGITS_MAX + FRACTION_DIGITS_MAX + 2 => {
            BigDecimal::from_str(text).ok()
        }
        _ => None,
    }
}

/// What is in both, and what either has added since: first in the order that it was, then what was
/// added, by its canonical bytes. Null is a set of none.
fn set(was: Option<&Value>, ours: &Value, theirs: &Value) -> Option<Value> {
    fn members(value: &Value) -> Option<BTreeMap<Vec<u8>, &Value>> {
        match value {
            Value::List(items) => {
                Some(items.iter().map(|item| (canonical::value(item), item)).collect())
            }
            Value::Null => Some(BTreeMap::new()),
            _ => None,
        }
    }
    let order = match was {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let was = was.map_or(Some(BTreeMap::new()), members)?;
    let (ours, theirs) = (members(ours)?, members(theirs)?);
    let mut kept: BTreeSet<Vec<u8>> = was
        .keys()
        .filter(|key| ours.contains_key(*key) && theirs.contains_key(*key))
        .cloned()
        .collect();
    let mut merged: Vec<Value> =
        order.iter().filter(|item| kept.remove(&canonical::value(item))).cloned().collect();
    let added: BTreeMap<Vec<u8>, &Value> =
        ours.into_iter().chain(theirs).filter(|(key, _)| !was.contains_key(key)).collect();
    merged.extend(added.into_values().cloned());
    Some(Value::List(merged))
}

/// None where the two can't be compared. What is equal and not the same (1.0 and 1.00) goes by its text.
fn compare(ours: &Value, theirs: &Value) -> Option<Ordering> {
    let order = match (ours, theirs) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Int(_) | Value::Decimal(_), Value::Int(_) | Value::Decimal(_)) => {
            let rank = extreme(ours).cmp(&extreme(theirs));
            if extreme(ours) != 0 || rank.is_ne() {
                rank
            } else {
                number(ours)?.cmp(&number(theirs)?)
            }
        }
        // Every NaN is the one above all, as in Postgres, whatever its sign bit.
        (Value::Float(a), Value::Float(b)) => a
            .is_nan()
            .cmp(&b.is_nan())
            .then_with(|| if a.is_nan() { Ordering::Equal } else { a.total_cmp(b) }),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => time(a)?.cmp(&time(b)?),
        (Value::Timestamp(a), Value::Timestamp(b)) => time(a)?.cmp(&time(b)?),
        _ => return None,
    };
    let text = |value: &Value| value.wire_text().unwrap_or_default();
    Some(order.then_with(|| text(ours).cmp(&text(theirs))))
}

/// Which end of all numbers a value is, as Postgres's numeric sorts them.
fn extreme(value: &Value) -> i8 {
    match value {
        Value::Decimal(text) => match text.as_str() {
            "-Infinity" => -1,
            "Infinity" => 1,
            "NaN" => 2,
            _ => 0,
        },
        _ => 0,
    }
}

/// A date or timestamp as what sorts by time: which end of all time, the year, and the rest, of fixed
/// width.
fn time(text: &str) -> Option<(i8, i64, &str)> {
    match text {
        "infinity" => return Some((1, 0, "")),
        "-infinity" => return Some((-1, 0, "")),
        _ => {}
    }
    // The first character may be the year's sign.
    let end = text.get(1..)?.find('-')? + 1;
    let (year, rest) = text.split_at(end);
    Some((0, year.parse().ok()?, rest))
}
