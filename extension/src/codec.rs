//! In charge of one column's values: Postgres datum to wire value and back.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Value, ValueHash};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use crate::calendar;
use crate::error::Error;
use crate::form::{self, Writer};
use crate::row;

/// How values of one Postgres type travel (DESIGN.md section 2).
#[derive(Clone)]
pub struct Codec {
    pub type_oid: pg_sys::Oid,
    pub type_mod: i32,
    kind: Kind,
    layout: Layout,
}

/// How values of a type lie in memory.
#[derive(Clone, Copy)]
struct Layout {
    length: i16,
    by_value: bool,
    align: std::ffi::c_char,
}

#[derive(Clone)]
enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Timestamp,
    Timestamptz,
    Json,
    Array(Box<Codec>),
    Composite,
    /// Any other type, by its output function.
    Output,
}

/// Types whose text no setting changes; the rest is printed under the fixed settings.
const SETTLED: &[pg_sys::Oid] = &[
    pg_sys::UUIDOID,
    pg_sys::BPCHAROID,
    pg_sys::NAMEOID,
    pg_sys::CHAROID,
    pg_sys::TIMEOID,
    pg_sys::INETOID,
    pg_sys::CIDROID,
    pg_sys::MACADDROID,
    pg_sys::BITOID,
    pg_sys::VARBITOID,
];

impl Codec {
    /// The codec of a column type. A domain is read as what it is made of and written as itself,
    /// so that its own constraints speak.
    pub fn of(type_oid: pg_sys::Oid, type_mod: i32) -> Codec {
        let mut base_mod = type_mod;
        // SAFETY: catalog look-ups by OID; Postgres raises an error for one that is gone.
        let (base, element, class, layout) = unsafe {
            let base = pg_sys::getBaseTypeAndTypmod(type_oid, &mut base_mod);
            let (mut length, mut by_value, mut align) = (0, false, 0);
            pg_sys::get_typlenbyvalalign(type_oid, &mut length, &mut by_value, &mut align);
            let layout = Layout { length, by_value, align };
            (base, pg_sys::get_element_type(base), pg_sys::get_typtype(base), layout)
        };
        let kind = match base {
            pg_sys::BOOLOID => Kind::Bool,
            pg_sys::INT2OID => Kind::Int2,
            pg_sys::INT4OID => Kind::Int4,
            pg_sys::INT8OID => Kind::Int8,
            pg_sys::FLOAT4OID => Kind::Float4,
            pg_sys::FLOAT8OID => Kind::Float8,
            pg_sys::NUMERICOID => Kind::Numeric,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Kind::Text,
            pg_sys::BYTEAOID => Kind::Bytea,
            pg_sys::DATEOID => Kind::Date,
            pg_sys::TIMESTAMPOID => Kind::Timestamp,
            pg_sys::TIMESTAMPTZOID => Kind::Timestamptz,
            pg_sys::JSONOID | pg_sys::JSONBOID => Kind::Json,
            _ if element != pg_sys::InvalidOid => {
                Kind::Array(Box::new(Codec::of(element, base_mod)))
            }
            _ if class as u8 == pg_sys::TYPTYPE_COMPOSITE => Kind::Composite,
            _ => Kind::Output,
        };
        Codec { type_oid, type_mod, kind, layout }
    }

    /// Whether printing or reading this type may depend on a setting.
    pub fn needs_settings(&self) -> bool {
        match &self.kind {
            Kind::Array(element) => element.needs_settings(),
            Kind::Composite => true,
            Kind::Output => {
                // SAFETY: a catalog look-up by OID.
                let class = unsafe { pg_sys::get_typtype(self.type_oid) } as u8;
                class != pg_sys::TYPTYPE_ENUM && !SETTLED.contains(&self.type_oid)
            }
            _ => false,
        }
    }

    /// Whether `column::text` in SQL is the value's wire text under any setting.
    pub fn casts_to_text(&self) -> bool {
        matches!(self.kind, Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Text)
            || self.type_oid == pg_sys::UUIDOID
    }

    /// Whether two values of this type are equal where their texts are, and only there: not so `1` and `1.0`.
    pub fn is_equal_by_text(&self) -> bool {
        let settled = matches!(
            self.kind,
            Kind::Bool | Kind::Bytea | Kind::Date | Kind::Timestamp | Kind::Timestamptz
        );
        settled || self.casts_to_text()
    }

    /// The wire value of a datum of this type.
    ///
    /// # Safety
    /// The datum must be of this codec's type.
    pub unsafe fn read(&self, datum: pg_sys::Datum, null: bool) -> Value {
        if null {
            return Value::Null;
        }
        // SAFETY: the caller vouches for the type, and so for each form below.
        unsafe {
            match &self.kind {
                Kind::Bool => Value::Bool(datum.value() as u8 != 0),
                Kind::Int2 => Value::Int(datum.value() as i16 as i64),
                Kind::Int4 => Value::Int(datum.value() as i32 as i64),
                Kind::Int8 => Value::Int(datum.value() as i64),
                Kind::Float4 => Value::Float(f32::from_bits(datum.value() as u32) as f64),
                Kind::Float8 => Value::Float(f64::from_bits(datum.value() as u64)),
                Kind::Numeric => Value::Decimal(output_by(NUMERIC_OUT, datum)),
                Kind::Text => Value::String(need(String::from_datum(datum, false))),
                Kind::Bytea => Value::Bytes(need(<Vec<u8>>::from_datum(datum, false))),
                Kind::Date => {
                    Value::Date(calendar::date_text(datum.value() as i32).as_str().into())
                }
                Kind::Timestamp | Kind::Timestamptz => {
                    Value::Timestamp(self.timestamp(datum).as_str().into())
                }
                Kind::Json => json(&output(self.base_type(), datum)),
                Kind::Array(element) => read_array(element, datum),
                Kind::Composite => read_composite(datum),
                Kind::Output => Value::String(output(self.type_oid, datum)),
            }
        }
    }

    /// Hashes what `read` reads, without making a value of it: each row that is written goes through here.
    ///
    /// # Safety
    /// The datum must be of this type.
    pub unsafe fn hash(&self, datum: pg_sys::Datum, null: bool, out: &mut ValueHash) {
        if null {
            return out.null();
        }
        // SAFETY: the caller vouches for the type, and so for each form below.
        unsafe {
            match &self.kind {
                Kind::Bool => out.bool(datum.value() as u8 != 0),
                Kind::Int2 => out.int(datum.value() as i16 as i64),
                Kind::Int4 => out.int(datum.value() as i32 as i64),
                Kind::Int8 => out.int(datum.value() as i64),
                Kind::Float4 => out.float(f32::from_bits(datum.value() as u32) as f64),
                Kind::Float8 => out.float(f64::from_bits(datum.value() as u64)),
                Kind::Text => out.string(row::text(datum)),
                Kind::Numeric => with_output(NUMERIC_OUT, datum, |text| out.decimal(text)),
                Kind::Date => out.date(calendar::date_text(datum.value() as i32).as_str()),
                Kind::Timestamp | Kind::Timestamptz => {
                    out.timestamp(self.timestamp(datum).as_str());
                }
                Kind::Array(element) if let Some(array) = flat(datum) => {
                    let items = element.items(array);
                    out.list(items.len());
                    items.for_each(|(item, null)| element.hash(item, null, out));
                }
                _ => out.value(&self.read(datum, false)),
            }
        }
    }

    /// A datum of this type that holds the value, as Postgres's own input function reads it; an
    /// error of that function is a Postgres error. `None` is null.
    pub fn write(&self, value: &Value) -> Option<pg_sys::Datum> {
        if let Some(datum) = self.plain(value) {
            return Some(datum);
        }
        let literal = self.literal(value).map(|literal| {
            CString::new(literal).unwrap_or_else(|_| {
                Error::BadRecord("a string holds U+0000, which Postgres can't store".into())
                    .report()
            })
        });
        let text = literal.as_ref().map_or(std::ptr::null(), |literal| literal.as_ptr());
        // SAFETY: input functions take a NUL-terminated string, or NULL where a domain must see
        // nulls too.
        unsafe {
            let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
            pg_sys::getTypeInputInfo(self.type_oid, &mut input, &mut parameter);
            let datum =
                pg_sys::OidInputFunctionCall(input, text.cast_mut(), parameter, self.type_mod);
            literal.map(|_| datum)
        }
    }

    /// A datum that reads back as this very value, made without the input function: most of a batch's values
    /// have one. `None` where the function, a domain or a modifier has a say.
    pub fn plain(&self, value: &Value) -> Option<pg_sys::Datum> {
        match (self.type_oid, value) {
            (pg_sys::BOOLOID, Value::Bool(value)) => value.into_datum(),
            (pg_sys::INT2OID, Value::Int(value)) => i16::try_from(*value).ok()?.into_datum(),
            (pg_sys::INT4OID, Value::Int(value)) => i32::try_from(*value).ok()?.into_datum(),
            (pg_sys::INT8OID, Value::Int(value)) => value.into_datum(),
            (pg_sys::FLOAT8OID, Value::Float(value)) if value.is_finite() => value.into_datum(),
            (pg_sys::TEXTOID, Value::String(text)) => plain_text(text)?.into_datum(),
            (pg_sys::DATEOID, Value::Date(text)) => calendar::date_of(text)?.into_datum(),
            (pg_sys::TIMESTAMPOID, Value::Timestamp(text)) if self.type_mod < 0 => {
                calendar::timestamp_of(text, "")?.into_datum()
            }
            (pg_sys::TIMESTAMPTZOID, Value::Timestamp(text)) if self.type_mod < 0 => {
                calendar::timestamp_of(text, "Z")?.into_datum()
            }
            (pg_sys::TEXTARRAYOID, Value::List(items)) if !items.is_empty() => {
                fn text(item: &Value) -> Option<&str> {
                    if let Value::String(text) = item { plain_text(text) } else { None }
                }
                items.iter().map(text).collect::<Option<Vec<_>>>()?.into_datum()
            }
            _ => None,
        }
    }

    /// What a part of a record id says of a key column of this type: a list or a map stands there as on the wire, and
    /// bytes in base64.
    pub fn key_value(&self, part: &str) -> Value {
        let wire = match self.kind {
            Kind::Bytea => Some(serde_json::json!({"bytes": part})),
            _ if self.is_named_by_wire() => serde_json::from_str(part).ok(),
            _ => None,
        };
        let value = wire.and_then(|wire| Value::from_wire(&wire).ok());
        value.unwrap_or_else(|| Value::String(part.to_owned()))
    }

    /// The same as a text that SQL casts to the type.
    pub fn key_text<'a>(&self, part: &'a str) -> Cow<'a, str> {
        let literal = || self.literal(&self.key_value(part));
        let is_read = self.is_named_by_wire() || matches!(self.kind, Kind::Bytea);
        let text = if is_read { literal() } else { None };
        text.map_or(Cow::Borrowed(part), Cow::Owned)
    }

    pub fn is_named_by_wire(&self) -> bool {
        matches!(self.kind, Kind::Array(_) | Kind::Composite)
    }

    /// The text that the type's input function is given under the fixed settings.
    fn literal(&self, value: &Value) -> Option<String> {
        let literal = match (&self.kind, value) {
            (_, Value::Null) => return None,
            (Kind::Json, _) => revision::to_json(value).to_string(),
            (Kind::Array(element), Value::List(items)) => array_literal(element, items),
            (Kind::Composite, Value::Map(members)) => self.composite_literal(members),
            (Kind::Bytea, Value::Bytes(bytes)) => hex(bytes),
            (Kind::Date | Kind::Timestamp | Kind::Timestamptz, Value::Date(text))
            | (Kind::Date | Kind::Timestamp | Kind::Timestamptz, Value::Timestamp(text)) => {
                calendar::input_text(text)
            }
            _ => value.wire_text().unwrap_or_else(|| value.to_wire().to_string()),
        };
        Some(literal)
    }

    fn composite_literal(&self, members: &BTreeMap<String, Value>) -> String {
        let mut out = String::from("(");
        for (number, (name, codec)) in composite_members(self.base_type(), -1).iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            if let Some(literal) = members.get(name).and_then(|value| codec.literal(value)) {
                push_quoted(&mut out, &literal);
            }
        }
        out.push(')');
        out
    }

    /// What a domain is made of; any other type itself.
    pub fn base_type(&self) -> pg_sys::Oid {
        // SAFETY: a catalog look-up by OID.
        unsafe { pg_sys::getBaseType(self.type_oid) }
    }
}

fn plain_text(text: &str) -> Option<&str> {
    (!text.contains('\0')).then_some(text)
}

fn need<T>(value: Option<T>) -> T {
    value
        .unwrap_or_else(|| Error::Internal("a datum that is not null has no value".into()).report())
}

/// The output function of numeric, of which most tables have some: it needs not be looked for.
const NUMERIC_OUT: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::F_NUMERIC_OUT);

/// The text of a datum by its type's output function.
unsafe fn output(type_oid: pg_sys::Oid, datum: pg_sys::Datum) -> String {
    let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: the caller vouches for the type.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut varlena);
        output_by(function, datum)
    }
}

unsafe fn output_by(function: pg_sys::Oid, datum: pg_sys::Datum) -> String {
    // SAFETY: the caller has the output function of the datum's own type.
    unsafe { with_output(function, datum, str::to_owned) }
}

unsafe fn with_output<T>(
    function: pg_sys::Oid,
    datum: pg_sys::Datum,
    read: impl FnOnce(&str) -> T,
) -> T {
    // SAFETY: as above; the text is read before it is freed.
    unsafe {
        let text = pg_sys::OidOutputFunctionCall(function, datum);
        let read = read(&CStr::from_ptr(text).to_string_lossy());
        pg_sys::pfree(text.cast());
        read
    }
}

fn json(text: &str) -> Value {
    let value = revision::from_json_text(text)
        .map_err(|error| Error::BadRecord(format!("a json value can't travel: {error}")));
    value.unwrap_or_else(|error| error.report())
}

unsafe fn read_array(element: &Codec, datum: pg_sys::Datum) -> Value {
    // SAFETY: the datum is an array of the element type; the parts are read before anything else
    // is allocated over them.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let dimensions = (*array).ndim as usize;
        if dimensions == 0 {
            return Value::List(Vec::new());
        }
        let sizes = std::slice::from_raw_parts(
            array.cast::<u8>().add(size_of::<pg_sys::ArrayType>()).cast::<i32>(),
            dimensions,
        );
        let items = element.items(array);
        let mut values: Vec<Value> = items.map(|(item, null)| element.read(item, null)).collect();
        // The innermost dimension is the last one: fold from there outwards.
        for size in sizes.iter().skip(1).rev() {
            let mut folded = Vec::with_capacity(values.len() / (*size as usize).max(1));
            let mut rest = values.into_iter();
            loop {
                let group: Vec<Value> = rest.by_ref().take(*size as usize).collect();
                if group.is_empty() {
                    break;
                }
                folded.push(Value::List(group));
            }
            values = folded;
        }
        Value::List(values)
    }
}

unsafe fn read_composite(datum: pg_sys::Datum) -> Value {
    // SAFETY: a composite datum carries its own type, whose descriptor reads it.
    unsafe {
        let header =
            pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
        let mut members = BTreeMap::new();
        for (name, value) in row::read_record(header) {
            members.insert(name, value);
        }
        Value::Map(members)
    }
}

/// Names and codecs of a composite type's living attributes, in order.
pub fn composite_members(type_oid: pg_sys::Oid, type_mod: i32) -> Vec<(String, Codec)> {
    // SAFETY: the descriptor is pinned until it is released at the end.
    unsafe {
        let desc = pg_sys::lookup_rowtype_tupdesc_copy(type_oid, type_mod);
        let members = (0..(*desc).natts as usize)
            .map(|at| row::attribute(desc, at))
            .filter(|attribute| !attribute.attisdropped)
            .map(|attribute| {
                let name = CStr::from_ptr(attribute.attname.data.as_ptr());
                (
                    name.to_string_lossy().into_owned(),
                    Codec::of(attribute.atttypid, attribute.atttypmod),
                )
            })
            .collect();
        pg_sys::FreeTupleDesc(desc);
        members
    }
}

fn array_literal(element: &Codec, items: &[Value]) -> String {
    let mut out = String::from("{");
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        match item {
            // A list inside a list is another dimension, unless the elements are JSON themselves.
            Value::List(inner) if !matches!(element.kind, Kind::Json) => {
                out.push_str(&array_literal(element, inner));
            }
            item => match element.literal(item) {
                Some(literal) => push_quoted(&mut out, &literal),
                None => out.push_str("NULL"),
            },
        }
    }
    out.push('}');
    out
}

/// Quotes for array and composite literals alike: backslash before quote and backslash.
fn push_quoted(out: &mut String, literal: &str) {
    out.push('"');
    for character in literal.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

fn hex(bytes: &[u8]) -> String {
    format!("\\x{}", hex::encode(bytes))
}

/// Values written without a `Value` in between: a page of the change stream has a million of them.
impl Codec {
    /// Writes the wire form of a datum, the same as that of what `read` gives.
    ///
    /// # Safety
    /// The datum must be of this codec's type.
    pub unsafe fn write_wire(&self, datum: pg_sys::Datum, null: bool, out: &mut impl Writer) {
        if null {
            return out.single("null", |out| out.truth());
        }
        // SAFETY: the caller vouches for the type, and so for each form below.
        unsafe {
            match &self.kind {
                Kind::Bool => plain(out, "bool", |out| {
                    let text: &[u8] = if datum.value() as u8 != 0 { b"true" } else { b"false" };
                    out.extend_from_slice(text);
                }),
                Kind::Int2 => plain(out, "int", |out| push_int(datum.value() as i16 as i64, out)),
                Kind::Int4 => plain(out, "int", |out| push_int(datum.value() as i32 as i64, out)),
                Kind::Int8 => plain(out, "int", |out| push_int(datum.value() as i64, out)),
                Kind::Numeric => {
                    with_output(NUMERIC_OUT, datum, |text| scalar_text(out, "decimal", text));
                }
                Kind::Text => {
                    out.single("string", |out| out.text(row::text(datum)));
                }
                Kind::Float4 => write_float(f32::from_bits(datum.value() as u32) as f64, out),
                Kind::Float8 => write_float(f64::from_bits(datum.value() as u64), out),
                Kind::Date => {
                    scalar_text(out, "date", calendar::date_text(datum.value() as i32).as_str());
                }
                Kind::Timestamp | Kind::Timestamptz => {
                    scalar_text(out, "timestamp", self.timestamp(datum).as_str());
                }
                Kind::Array(element) if let Some(array) = flat(datum) => {
                    element.write_list(array, out);
                }
                _ => form::write_value(&self.read(datum, false), out),
            }
        }
    }

    /// A timestamp of this codec's type.
    fn timestamp(&self, datum: pg_sys::Datum) -> calendar::Text {
        let zone = if matches!(self.kind, Kind::Timestamp) { "" } else { "Z" };
        calendar::timestamp_text(datum.value() as i64, zone)
    }

    /// An array of this codec's type, of one dimension or none.
    ///
    /// # Safety
    /// It must be such an array.
    unsafe fn write_list(&self, array: *mut pg_sys::ArrayType, out: &mut impl Writer) {
        // SAFETY: the caller vouches for the array; what is taken apart stays as long as what writing a row takes.
        let items: Vec<_> = unsafe { self.items(array) }.collect();
        out.single("list", |out| {
            out.list(items.len(), |out, at| {
                let (item, null) = items[at];
                // SAFETY: an item of the array.
                unsafe { self.write_wire(item, null, out) };
            });
        });
    }

    /// The items of an array of this codec's type, each with whether it is null.
    ///
    /// # Safety
    /// It must be such an array, and stay while they are read.
    unsafe fn items(
        &self,
        array: *mut pg_sys::ArrayType,
    ) -> impl ExactSizeIterator<Item = (pg_sys::Datum, bool)> {
        let Layout { length, by_value, align } = self.layout;
        // SAFETY: the caller vouches for the array; there are as many items and flags as Postgres says.
        unsafe {
            let (mut items, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                array,
                self.type_oid,
                length.into(),
                by_value,
                align,
                &mut items,
                &mut nulls,
                &mut count,
            );
            (0..count as usize).map(move |at| (*items.add(at), *nulls.add(at)))
        }
    }
}

/// An array that has one dimension at most.
///
/// # Safety
/// The datum must be an array.
unsafe fn flat(datum: pg_sys::Datum) -> Option<*mut pg_sys::ArrayType> {
    // SAFETY: the caller vouches for the datum; its head is all that is read.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        ((*array).ndim <= 1).then_some(array)
    }
}

fn write_float(value: f64, out: &mut impl Writer) {
    revision::with_float_text(value, |text| scalar_text(out, "float", text));
}

/// A scalar whose text needs no escape.
fn plain<W: Writer>(out: &mut W, kind: &str, push: impl FnOnce(&mut Vec<u8>)) {
    out.single(kind, |out| out.plain(push));
}

fn scalar_text<W: Writer>(out: &mut W, kind: &str, text: &str) {
    plain(out, kind, |out| out.extend_from_slice(text.as_bytes()));
}

/// `write!` takes several times as long.
fn push_int(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut first, mut rest) = (digits.len(), number.unsigned_abs());
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[first..]);
}
