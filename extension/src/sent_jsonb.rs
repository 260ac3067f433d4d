//! In charge of reading records out of a jsonb as it is stored: printing it and reading the text is most of what a batch
//! in SQL would wait for. The form is that of utils/jsonb.h, as in `jsonb.rs`.

use pgrx::pg_sys;
use revision::Record;
use serde::de::value::Error;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::jsonb::{ENTRY_CONTAINER, ENTRY_TEXT, ENTRY_TRUE, HAS_OFFSET, IS_ARRAY, IS_OBJECT};

const COUNT: u32 = 0x0fff_ffff;
const IS_SCALAR: u32 = 0x1000_0000;
const LENGTH: u32 = 0x0fff_ffff;
const KIND: u32 = 0x7000_0000;
const ENTRY_FALSE: u32 = 0x2000_0000;
const ENTRY_NULL: u32 = 0x4000_0000;
const WORD: usize = size_of::<u32>();

/// The records of an array, if all of them can be read. Where one can't, what is wrong with it is said of its text.
///
/// # Safety
/// The datum must be a jsonb.
pub unsafe fn records(datum: pg_sys::Datum) -> Option<Vec<Record>> {
    // SAFETY: the caller vouches for the datum; what it is detoasted to stays until its memory context goes.
    let bytes = unsafe {
        let whole = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
        pgrx::varlena::varlena_to_byte_slice(whole)
    };
    let root = Node { kind: ENTRY_CONTAINER, bytes };
    let head = root.word(0).ok()?;
    if head & IS_ARRAY == 0 || head & IS_SCALAR != 0 {
        return None;
    }
    Vec::deserialize(root).ok()
}

/// A value, and the bytes that it is kept in.
#[derive(Clone, Copy)]
struct Node<'a> {
    kind: u32,
    bytes: &'a [u8],
}

impl<'a> Node<'a> {
    fn word(&self, at: usize) -> Result<u32, Error> {
        let bytes = self.bytes.get(at * WORD..(at + 1) * WORD);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(broken)
    }

    fn text(&self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes).map_err(|_| broken())
    }

    /// What a container holds: an object's keys first, then its values.
    fn inside(self, count: usize) -> Inside<'a> {
        Inside { container: self, entry: 1, data: (count + 1) * WORD, end: 0 }
    }
}

fn broken() -> Error {
    Error::custom("a jsonb can't be read")
}

/// A walk through a container's entries; each says where it ends, or how long it is.
#[derive(Clone, Copy)]
struct Inside<'a> {
    container: Node<'a>,
    entry: usize,
    data: usize,
    end: usize,
}

impl<'a> Inside<'a> {
    fn next(&mut self) -> Result<Node<'a>, Error> {
        let entry = self.container.word(self.entry)?;
        let length = (entry & LENGTH) as usize;
        let begin = self.end;
        self.end = if entry & HAS_OFFSET == 0 { begin + length } else { length };
        self.entry += 1;
        let kind = entry & KIND;
        let begin = if kind == ENTRY_CONTAINER { begin.next_multiple_of(WORD) } else { begin };
        let bytes = self.container.bytes.get(self.data + begin..self.data + self.end);
        Ok(Node { kind, bytes: bytes.ok_or_else(broken)? })
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind {
            ENTRY_TEXT => visitor.visit_borrowed_str(self.text()?),
            ENTRY_FALSE => visitor.visit_bool(false),
            ENTRY_TRUE => visitor.visit_bool(true),
            ENTRY_NULL => visitor.visit_unit(),
            ENTRY_CONTAINER => {
                let head = self.word(0)?;
                let count = (head & COUNT) as usize;
                if head & IS_OBJECT == 0 {
                    return visitor.visit_seq(Items { inside: self.inside(count), left: count });
                }
                let keys = self.inside(2 * count);
                let mut values = keys;
                for _ in 0..count {
                    values.next()?;
                }
                visitor.visit_map(Members { keys, values, left: count })
            }
            // A record has no numbers.
            _ => Err(broken()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.kind == ENTRY_NULL { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// However deep it nests.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

struct Items<'a> {
    inside: Inside<'a>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.inside.next()?).map(Some)
    }
}

struct Members<'a> {
    keys: Inside<'a>,
    values: Inside<'a>,
    left: usize,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.keys.next()?).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.values.next()?)
    }
}
