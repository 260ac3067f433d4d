//! In charge of kinds and values: what an attribute can hold, and the one form of each.

use std::collections::BTreeMap;

/// A record's attributes by name, in the order of the names' bytes.
pub type Attributes = BTreeMap<String, Value>;

/// How deep lists and maps may be nested, a record's attributes being the first level. Bounds the
/// stack of every peer; Postgres's own JSON parser goes some thousands deep.
pub const DEPTH_MAX: usize = 64;

/// A value of one of the eleven kinds (DESIGN.md section 2).
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// As Postgres's numeric prints it, scale kept.
    Decimal(String),
    String(String),
    Bytes(Vec<u8>),
    /// ISO 8601 date.
    Date(String),
    /// RFC 3339 with six fraction digits; without a zone it has no `Z`.
    Timestamp(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("a value is a JSON object with one member, its kind")]
    Shape,
    #[error("{0:?} is not a kind")]
    Kind(String),
    #[error("{text:?} is not in the form of kind {kind}")]
    Form { kind: &'static str, text: String },
    #[error("kind {kind} takes {takes}")]
    Takes { kind: &'static str, takes: &'static str },
    #[error("a string holds U+0000, which Postgres can't store")]
    Nul,
    #[error("values are nested more than {DEPTH_MAX} deep")]
    Depth,
    #[error("a number has more digits than Postgres's numeric holds")]
    Digits,
    #[error("it is not JSON: {0}")]
    Json(String),
    #[error("member {0:?} comes twice")]
    Twice(String),
}

impl PartialEq for Value {
    /// By what is hashed: every NaN is one value, and -0 is not 0.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => {
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
            }
            (Value::Decimal(a), Value::Decimal(b))
            | (Value::String(a), Value::String(b))
            | (Value::Date(a), Value::Date(b))
            | (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Value {
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Decimal(_) => "decimal",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "date",
            Value::Timestamp(_) => "timestamp",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }

    /// Whether the value, with all that it holds, is in its kind's one form.
    pub fn validate(&self) -> Result<(), ValueError> {
        self.validate_at(1)
    }

    fn validate_at(&self, depth: usize) -> Result<(), ValueError> {
        if depth > DEPTH_MAX {
            return Err(ValueError::Depth);
        }
        match self {
            Value::List(items) => items.iter().try_for_each(|item| item.validate_at(depth + 1)),
            Value::Map(members) => members.iter().try_for_each(|(name, value)| {
                check_text(name)?;
                value.validate_at(depth + 1)
            }),
            _ => self.check_form(),
        }
    }

    /// Whether this value by itself is in its kind's form.
    pub(crate) fn check_form(&self) -> Result<(), ValueError> {
        let (right, text) = match self {
            Value::String(text) => return check_text(text),
            Value::Decimal(text) => (is_decimal(text), text),
            Value::Date(text) => (is_date(text), text),
            Value::Timestamp(text) => (is_timestamp(text), text),
            _ => return Ok(()),
        };
        if right { Ok(()) } else { Err(form(self.kind(), text)) }
    }
}

pub(crate) fn form(kind: &'static str, text: &str) -> ValueError {
    ValueError::Form { kind, text: text.chars().take(80).collect() }
}

pub(crate) fn check_text(text: &str) -> Result<(), ValueError> {
    if text.contains('\0') { Err(ValueError::Nul) } else { Ok(()) }
}

/// The shortest digits that read back to the same double, as ECMAScript's `Number::toString`
/// writes them (ECMA-262, section 6.1.6.1.20), and `-0`, which ECMAScript writes as `0`.
pub fn float_text(value: f64) -> String {
    with_float_text(value, str::to_owned)
}

/// Hands on what `float_text` says.
pub fn with_float_text<R>(value: f64, with: impl FnOnce(&str) -> R) -> R {
    if value.is_nan() {
        with("NaN")
    } else if value.is_infinite() {
        with(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else if value == 0.0 && value.is_sign_negative() {
        with("-0")
    } else {
        with(ryu_js::Buffer::new().format_finite(value))
    }
}

fn is_decimal(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let zero = unsigned.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && !(zero && text.starts_with('-'))
}

fn is_infinity(text: &str) -> bool {
    matches!(text, "infinity" | "-infinity")
}

/// `YYYY-MM-DD`; years outside 0001 to 9999 are signed, of at least four digits (ISO 8601
/// expanded), and year 0 is 1 BC.
fn is_date(text: &str) -> bool {
    if is_infinity(text) {
        return true;
    }
    let Some((rest, day)) = text.rsplit_once('-') else { return false };
    let Some((year, month)) = rest.rsplit_once('-') else { return false };
    let two = |part: &str| (part.len() == 2 && all_digits(part)).then(|| part.parse::<i64>().ok());
    let (Some(Some(month)), Some(Some(day))) = (two(month), two(day)) else { return false };
    let Some(year) = year_of(year) else { return false };
    (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day)
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn year_of(text: &str) -> Option<i64> {
    let (signed, digits) = match text.as_bytes().first()? {
        b'+' | b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let plain = digits.len() >= 4 && digits.len() <= 7 && all_digits(digits);
    let padded = digits.len() > 4 && digits.starts_with('0');
    let year: i64 = if plain && !padded { digits.parse().ok()? } else { return None };
    let usual = (1..=9999).contains(&year);
    match (signed, text.starts_with('-')) {
        (false, _) => usual.then_some(year),
        (true, false) => (!usual).then_some(year),
        (true, true) => (year > 0).then_some(-year),
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A date, `T`, `HH:MM:SS.ffffff`, and `Z` or nothing.
fn is_timestamp(text: &str) -> bool {
    if is_infinity(text) {
        return true;
    }
    let Some((date, time)) = text.split_once('T') else { return false };
    let time = time.strip_suffix('Z').unwrap_or(time).as_bytes();
    let shape = time.len() == 15 && time[2] == b':' && time[5] == b':' && time[8] == b'.';
    let digits = |range: std::ops::Range<usize>| time[range].iter().all(u8::is_ascii_digit);
    let below = |at: usize, max: u8| (time[at] - b'0') * 10 + (time[at + 1] - b'0') <= max;
    shape
        && !is_infinity(date)
        && is_date(date)
        && [0..2, 3..5, 6..8, 9..15].into_iter().all(digits)
        && below(0, 23)
        && below(3, 59)
        && below(6, 59)
}
