//! In charge of the canonical bytes that a revision's hash is made of (docs/canonical.md).

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use crate::id::{REVISION_BYTES_MAX, RevisionId};
use crate::value::{Attributes, DEPTH_MAX, Value};

/// The version of the form; another form would begin with another byte.
const VERSION: u8 = 1;

const NULL: u8 = 0x00;
const BOOL: u8 = 0x01;
const INT: u8 = 0x02;
const FLOAT: u8 = 0x03;
const DECIMAL: u8 = 0x04;
const STRING: u8 = 0x05;
const BYTES: u8 = 0x06;
const DATE: u8 = 0x07;
const TIMESTAMP: u8 = 0x08;
const LIST: u8 = 0x09;
const MAP: u8 = 0x0a;

/// Every NaN is this one.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// Where canonical bytes go: a buffer, or straight into the hash.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Hashes a revision as its attributes are handed in, in the order of their names' bytes.
pub struct Encoder {
    sink: Sha256,
    previous: Option<RevisionId>,
    last: Option<String>,
    /// Attributes that were announced and have not come yet.
    left: usize,
}

impl Encoder {
    pub fn new(
        id: &str,
        previous: Option<&RevisionId>,
        deleted: bool,
        attribute_count: usize,
    ) -> Self {
        let mut sink = Sha256::new();
        head(&mut sink, id, previous, deleted, attribute_count);
        Encoder { sink, previous: previous.cloned(), last: None, left: attribute_count }
    }

    /// # Panics
    /// When a name does not sort after the one before, or more attributes come than were announced:
    /// the hash would be no other peer's.
    pub fn attribute(&mut self, name: &str, value: &Value) {
        self.attribute_by(name, |out| out.value(value));
    }

    /// The same for who has the value in another form: `write` calls one method of what it is given, once.
    pub fn attribute_by(&mut self, name: &str, write: impl FnOnce(&mut ValueHash)) {
        assert!(self.last.as_deref().is_none_or(|last| last < name), "attributes out of order");
        assert!(self.left > 0, "more attributes than announced");
        let last = self.last.get_or_insert_default();
        last.clear();
        last.push_str(name);
        self.left -= 1;
        text(&mut self.sink, name);
        write(&mut ValueHash(&mut self.sink));
    }

    /// # Panics
    /// When fewer attributes came than were announced, or `previous` is of the last generation.
    pub fn finish(self) -> RevisionId {
        assert_eq!(self.left, 0, "attributes are missing");
        RevisionId::from_digest(self.previous.as_ref(), &self.sink.finalize())
    }
}

/// A value on its way into the hash. Its text must be what the wire has for its kind.
pub struct ValueHash<'a>(&'a mut Sha256);

impl ValueHash<'_> {
    pub fn value(&mut self, value: &Value) {
        put(self.0, value);
    }

    pub fn null(&mut self) {
        null(self.0);
    }

    pub fn bool(&mut self, value: bool) {
        bool(self.0, value);
    }

    pub fn int(&mut self, value: i64) {
        int(self.0, value);
    }

    pub fn float(&mut self, value: f64) {
        float(self.0, value);
    }

    pub fn decimal(&mut self, text: &str) {
        scalar(self.0, DECIMAL, text.as_bytes());
    }

    pub fn string(&mut self, text: &str) {
        scalar(self.0, STRING, text.as_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        scalar(self.0, BYTES, bytes);
    }

    pub fn date(&mut self, text: &str) {
        scalar(self.0, DATE, text.as_bytes());
    }

    pub fn timestamp(&mut self, text: &str) {
        scalar(self.0, TIMESTAMP, text.as_bytes());
    }

    /// The head of a list: as many values as it has follow, each by a call of its own.
    pub fn list(&mut self, count: usize) {
        list(self.0, count);
    }
}

/// The canonical bytes of a revision.
pub fn encode(
    id: &str,
    previous: Option<&RevisionId>,
    deleted: bool,
    attributes: &Attributes,
) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, id, previous, deleted, attributes.len());
    attributes.iter().for_each(|(name, value)| member(&mut out, name, value));
    out
}

/// The canonical bytes of a value by itself.
pub fn value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, value);
    out
}

fn head(
    sink: &mut impl Sink,
    id: &str,
    previous: Option<&RevisionId>,
    deleted: bool,
    attribute_count: usize,
) {
    sink.put(&[VERSION]);
    text(sink, id);
    match previous {
        None => sink.put(&[0]),
        Some(previous) => {
            sink.put(&[1]);
            text(sink, previous.text_in(&mut [0; REVISION_BYTES_MAX]));
        }
    }
    sink.put(&[u8::from(deleted)]);
    length(sink, attribute_count);
}

fn member(sink: &mut impl Sink, name: &str, value: &Value) {
    text(sink, name);
    put(sink, value);
}

fn put(sink: &mut impl Sink, value: &Value) {
    match value {
        Value::Null => null(sink),
        Value::Bool(value) => bool(sink, *value),
        Value::Int(value) => int(sink, *value),
        Value::Float(value) => float(sink, *value),
        Value::Decimal(text) => scalar(sink, DECIMAL, text.as_bytes()),
        Value::String(text) => scalar(sink, STRING, text.as_bytes()),
        Value::Bytes(bytes) => scalar(sink, BYTES, bytes),
        Value::Date(text) => scalar(sink, DATE, text.as_bytes()),
        Value::Timestamp(text) => scalar(sink, TIMESTAMP, text.as_bytes()),
        Value::List(items) => {
            list(sink, items.len());
            items.iter().for_each(|item| put(sink, item));
        }
        Value::Map(members) => {
            sink.put(&[MAP]);
            length(sink, members.len());
            members.iter().for_each(|(name, value)| member(sink, name, value));
        }
    }
}

fn null(sink: &mut impl Sink) {
    sink.put(&[NULL]);
}

fn bool(sink: &mut impl Sink, value: bool) {
    sink.put(&[BOOL, u8::from(value)]);
}

fn int(sink: &mut impl Sink, value: i64) {
    sink.put(&[INT]);
    sink.put(&value.to_be_bytes());
}

fn float(sink: &mut impl Sink, value: f64) {
    let bits = if value.is_nan() { NAN_BITS } else { value.to_bits() };
    sink.put(&[FLOAT]);
    sink.put(&bits.to_be_bytes());
}

fn scalar(sink: &mut impl Sink, tag: u8, bytes: &[u8]) {
    sink.put(&[tag]);
    length(sink, bytes.len());
    sink.put(bytes);
}

fn list(sink: &mut impl Sink, count: usize) {
    sink.put(&[LIST]);
    length(sink, count);
}

fn text(sink: &mut impl Sink, text: &str) {
    length(sink, text.len());
    sink.put(text.as_bytes());
}

/// Four bytes, big-endian. Postgres stores no value above 1 GiB, so none is cut.
fn length(sink: &mut impl Sink, length: usize) {
    let length = u32::try_from(length).expect("a part of a record is under 4 GiB");
    sink.put(&length.to_be_bytes());
}

/// What canonical bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    pub id: String,
    pub previous: Option<RevisionId>,
    pub deleted: bool,
    pub attributes: Attributes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the bytes end too early")]
    Short,
    #[error("{0} bytes are left over")]
    Rest(usize),
    #[error("version {0} of the canonical form is not known")]
    Version(u8),
    #[error("byte {0:#04x} is not a kind, or not a flag")]
    Tag(u8),
    #[error("a text is not UTF-8, holds U+0000, or is not a revision id")]
    Text,
    #[error("names are not in the order of their bytes, or one comes twice")]
    Order,
    #[error("a value is not in its kind's form")]
    Form,
    #[error("values are nested too deep")]
    Depth,
}

/// Reads canonical bytes back; whatever `encode` would not have written is refused.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut reader = Reader(bytes);
    match reader.byte()? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let id = reader.text()?;
    let previous = match reader.flag()? {
        false => None,
        true => Some(RevisionId::parse(&reader.text()?).map_err(|_| DecodeError::Text)?),
    };
    let deleted = reader.flag()?;
    let attributes = reader.members(0)?;
    match reader.0.len() {
        0 => Ok(Decoded { id, previous, deleted, attributes }),
        rest => Err(DecodeError::Rest(rest)),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Tag(other)),
        }
    }

    fn eight(&mut self) -> Result<[u8; 8], DecodeError> {
        self.take(8)?.try_into().map_err(|_| DecodeError::Short)
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.count()?;
        self.take(count)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(DecodeError::Text),
        }
    }

    fn members(&mut self, depth: usize) -> Result<BTreeMap<String, Value>, DecodeError> {
        let mut members = BTreeMap::new();
        for _ in 0..self.count()? {
            let name = self.text()?;
            if members.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(DecodeError::Order);
            }
            let value = self.value(depth + 1)?;
            members.insert(name, value);
        }
        Ok(members)
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        let value = match self.byte()? {
            NULL => Value::Null,
            BOOL => Value::Bool(self.flag()?),
            INT => Value::Int(i64::from_be_bytes(self.eight()?)),
            FLOAT => {
                let bits = u64::from_be_bytes(self.eight()?);
                let value = f64::from_bits(bits);
                if value.is_nan() && bits != NAN_BITS {
                    return Err(DecodeError::Form);
                }
                Value::Float(value)
            }
            DECIMAL => Value::Decimal(self.text()?),
            STRING => Value::String(self.text()?),
            BYTES => Value::Bytes(self.bytes()?.to_vec()),
            DATE => Value::Date(self.text()?),
            TIMESTAMP => Value::Timestamp(self.text()?),
            LIST => {
                let count = self.count()?;
                let items: Result<Vec<Value>, _> =
                    (0..count).map(|_| self.value(depth + 1)).collect();
                Value::List(items?)
            }
            MAP => Value::Map(self.members(depth)?),
            other => return Err(DecodeError::Tag(other)),
        };
        value.check_form().map_err(|_| DecodeError::Form)?;
        Ok(value)
    }
}
