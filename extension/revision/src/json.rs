//! In charge of plain JSON, as Postgres's json and jsonb columns hold it, to values and back.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::value::{DEPTH_MAX, Value, ValueError, check_text};

/// Digits before and after the point that Postgres's numeric holds (its documentation, table 8.2).
pub(crate) const WHOLE_DIGITS_MAX: usize = 131_072;
pub(crate) const FRACTION_DIGITS_MAX: usize = 16_383;

/// Plain JSON from its text. An integer literal that fits is `int`, any other number `decimal`,
/// printed as numeric prints it. Where an object has a member twice the last one counts, as in jsonb.
///
/// Prefer this to `from_json`: on its way through `serde_json::Value` an object with the one member
/// `$serde_json::private::Number` would become a number.
pub fn from_json_text(text: &str) -> Result<Value, ValueError> {
    from_raw_json(serde_json::from_str(text).map_err(not_json)?)
}

/// The same of a part of JSON that was looked through as a whole.
pub fn from_raw_json(json: &RawValue) -> Result<Value, ValueError> {
    read_text(json, 1)
}

fn not_json(error: serde_json::Error) -> ValueError {
    ValueError::Json(error.to_string())
}

fn read_text(json: &RawValue, depth: usize) -> Result<Value, ValueError> {
    if depth > DEPTH_MAX {
        return Err(ValueError::Depth);
    }
    let text = json.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(not_json)?;
            check_text(&text)?;
            Value::String(text)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
            let items: Result<_, _> =
                items.into_iter().map(|item| read_text(item, depth + 1)).collect();
            Value::List(items?)
        }
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).map_err(not_json)?;
            let member = |(name, value): (String, &RawValue)| {
                check_text(&name)?;
                Ok((name, read_text(value, depth + 1)?))
            };
            let members: Result<_, _> = members.into_iter().map(member).collect();
            Value::Map(members?)
        }
        _ => number_value(text)?,
    })
}

/// The same from JSON that is parsed already.
pub fn from_json(json: &serde_json::Value) -> Result<Value, ValueError> {
    read(json, 1)
}

fn read(json: &serde_json::Value, depth: usize) -> Result<Value, ValueError> {
    if depth > DEPTH_MAX {
        return Err(ValueError::Depth);
    }
    Ok(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => number_value(&number.to_string())?,
        serde_json::Value::String(text) => {
            check_text(text)?;
            Value::String(text.clone())
        }
        serde_json::Value::Array(items) => {
            let items: Result<_, _> = items.iter().map(|item| read(item, depth + 1)).collect();
            Value::List(items?)
        }
        serde_json::Value::Object(members) => {
            let member = |(name, value): (&String, &serde_json::Value)| {
                check_text(name)?;
                Ok((name.clone(), read(value, depth + 1)?))
            };
            let members: Result<_, _> = members.iter().map(member).collect();
            Value::Map(members?)
        }
    })
}

fn number_value(literal: &str) -> Result<Value, ValueError> {
    if !literal.contains(['.', 'e', 'E'])
        && let Ok(value) = literal.parse()
    {
        return Ok(Value::Int(value));
    }
    decimal(literal).map(Value::Decimal)
}

/// A JSON number literal without its exponent, scale kept, as `numeric` prints it.
fn decimal(literal: &str) -> Result<String, ValueError> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let exponent: i64 = exponent.parse().map_err(|_| ValueError::Digits)?;
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    // Where the point stands among the digits; zeros fill up on either side.
    let point = exponent.saturating_add(whole.len() as i64);
    let scale = (fraction.len() as i64).saturating_sub(exponent).max(0);
    if point > WHOLE_DIGITS_MAX as i64 || scale > FRACTION_DIGITS_MAX as i64 {
        return Err(ValueError::Digits);
    }
    if point <= 0 {
        digits.insert_str(0, &"0".repeat((1 - point) as usize));
    }
    let point = point.max(1) as usize;
    if digits.len() < point {
        digits.push_str(&"0".repeat(point - digits.len()));
    }
    let (whole, fraction) = digits.split_at(point);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction.bytes().all(|byte| byte == b'0');
    let sign = if negative && !zero { "-" } else { "" };
    let dot = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{sign}{whole}{dot}{fraction}"))
}

/// Plain JSON for a json column; a kind that JSON has not is its wire string.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Decimal(text) => match text.parse::<serde_json::Number>() {
            Ok(number) => number.into(),
            Err(_) => text.clone().into(),
        },
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(members) => {
            members.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
        }
        scalar => scalar.wire_text().unwrap_or_default().into(),
    }
}
