//! In charge of our own JSON as Postgres's jsonb. What we write has only objects, arrays, texts and `true`, has no
//! space in it and no member twice; so it takes a tenth of what `jsonb_in` does, which a page of records waits for.
//!
//! The form is that of utils/jsonb.h, which is on every disk and so is the same in all versions: a head with a count, an
//! entry for each key and each value, and then what they hold. Keys stand by their length, then by their bytes.

use pgrx::pg_sys;

const IS_ARRAY: u32 = 0x4000_0000;
const IS_OBJECT: u32 = 0x2000_0000;
const ENTRY_TEXT: u32 = 0x0000_0000;
const ENTRY_TRUE: u32 = 0x3000_0000;
const ENTRY_CONTAINER: u32 = 0x5000_0000;
/// Each so many entries one has the offset of its end instead of its length.
const HAS_OFFSET: u32 = 0x8000_0000;
const OFFSET_STRIDE: usize = 32;
/// An entry has 28 bits for a length; what is longer than this is Postgres's to read.
const BYTES_MAX: usize = 0x0400_0000;
const ALIGNMENT: usize = size_of::<u32>();

#[derive(Clone, Copy)]
enum Node {
    True,
    /// A piece of `texts`.
    Text {
        first: usize,
        length: usize,
    },
    /// A piece of `items`.
    Array {
        first: usize,
        count: usize,
    },
    /// A piece of `items`: each key and its value.
    Object {
        first: usize,
        count: usize,
    },
}

/// What reading a JSON takes; kept for the next.
#[derive(Default)]
pub struct Reader {
    texts: Vec<u8>,
    items: Vec<Node>,
    open: Vec<Node>,
}

impl Reader {
    /// Appends the jsonb without the head of a varlena; `out` is aligned. False for what we don't write ourselves.
    pub fn append(&mut self, json: &[u8], out: &mut Vec<u8>) -> bool {
        if json.len() > BYTES_MAX {
            return false;
        }
        self.texts.clear();
        self.items.clear();
        self.open.clear();
        let mut at = 0;
        match self.read(json, &mut at) {
            Some(root @ (Node::Object { .. } | Node::Array { .. })) if at == json.len() => {
                self.write(root, out);
                true
            }
            _ => false,
        }
    }

    /// Writes a JSON of ours as jsonb is printed.
    pub fn respell(&mut self, json: &mut Vec<u8>) {
        let mut varlena = vec![0; ALIGNMENT];
        if !self.append(json, &mut varlena) {
            return;
        }
        // SAFETY: the head is that of a varlena; what is printed is copied and freed.
        unsafe {
            pgrx::set_varsize_4b(varlena.as_mut_ptr().cast(), varlena.len() as i32);
            let function = pg_sys::Oid::from_u32(pg_sys::F_JSONB_OUT);
            let text = pg_sys::OidOutputFunctionCall(function, varlena.as_mut_ptr().into());
            json.clear();
            json.extend_from_slice(std::ffi::CStr::from_ptr(text).to_bytes());
            pg_sys::pfree(text.cast());
        }
    }

    fn read(&mut self, json: &[u8], at: &mut usize) -> Option<Node> {
        match json.get(*at)? {
            b'"' => self.text(json, at),
            b't' if json[*at..].starts_with(b"true") => {
                *at += 4;
                Some(Node::True)
            }
            b'[' => self.items(json, at, b']', |reader, at| {
                let item = reader.read(json, at)?;
                reader.open.push(item);
                Some(())
            }),
            b'{' => self.items(json, at, b'}', |reader, at| {
                let key = reader.text(json, at)?;
                if *json.get(*at)? != b':' {
                    return None;
                }
                *at += 1;
                let value = reader.read(json, at)?;
                reader.open.extend([key, value]);
                Some(())
            }),
            _ => None,
        }
    }

    fn items(
        &mut self,
        json: &[u8],
        at: &mut usize,
        end: u8,
        mut item: impl FnMut(&mut Self, &mut usize) -> Option<()>,
    ) -> Option<Node> {
        let before = self.open.len();
        *at += 1;
        while *json.get(*at)? != end {
            if self.open.len() > before {
                if json[*at] != b',' {
                    return None;
                }
                *at += 1;
            }
            item(self, at)?;
        }
        *at += 1;
        let first = self.items.len();
        let count = self.open.len() - before;
        self.items.extend(self.open.drain(before..));
        if end == b']' {
            return Some(Node::Array { first, count });
        }
        self.sort(first, count / 2);
        Some(Node::Object { first, count: count / 2 })
    }

    /// There are few members, and the few of a value need no sorting.
    fn sort(&mut self, first: usize, count: usize) {
        for placed in 1..count {
            let mut at = placed;
            while at > 0 && self.key(first, at) < self.key(first, at - 1) {
                let place = first + 2 * at;
                self.items.swap(place, place - 2);
                self.items.swap(place + 1, place - 1);
                at -= 1;
            }
        }
    }

    fn key(&self, first: usize, member: usize) -> (usize, &[u8]) {
        let text = self.bytes(self.items[first + 2 * member]);
        (text.len(), text)
    }

    fn bytes(&self, node: Node) -> &[u8] {
        match node {
            Node::Text { first, length } => &self.texts[first..first + length],
            _ => &[],
        }
    }

    fn text(&mut self, json: &[u8], at: &mut usize) -> Option<Node> {
        let rest = json.get(*at..)?.strip_prefix(b"\"")?;
        let first = self.texts.len();
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        self.texts.extend_from_slice(&rest[..end]);
        if rest[end] == b'"' {
            *at += end + 2;
            return Some(Node::Text { first, length: end });
        }
        // With an escape serde reads it.
        let mut end = end;
        while *rest.get(end)? != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        let text: String = serde_json::from_slice(&json[*at..*at + end + 2]).ok()?;
        self.texts.truncate(first);
        self.texts.extend_from_slice(text.as_bytes());
        *at += end + 2;
        Some(Node::Text { first, length: text.len() })
    }

    fn write(&self, node: Node, out: &mut Vec<u8>) {
        let (first, count, entries, kind) = match node {
            Node::Array { first, count } => (first, count, count, IS_ARRAY),
            Node::Object { first, count } => (first, count, 2 * count, IS_OBJECT),
            _ => return,
        };
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend_from_slice(&(count as u32 | kind).to_ne_bytes());
        let table = out.len();
        out.resize(table + entries * ALIGNMENT, 0);
        let begin = out.len();
        for entry in 0..entries {
            // An object has all its keys first.
            let item = match node {
                Node::Object { .. } if entry < count => first + 2 * entry,
                Node::Object { .. } => first + 2 * (entry - count) + 1,
                _ => first + entry,
            };
            let before = out.len();
            let kind = match self.items[item] {
                Node::True => ENTRY_TRUE,
                text @ Node::Text { .. } => {
                    out.extend_from_slice(self.bytes(text));
                    ENTRY_TEXT
                }
                container => {
                    self.write(container, out);
                    ENTRY_CONTAINER
                }
            };
            let head = match entry % OFFSET_STRIDE {
                0 => kind | HAS_OFFSET | (out.len() - begin) as u32,
                _ => kind | (out.len() - before) as u32,
            };
            let place = table + entry * ALIGNMENT;
            out[place..place + ALIGNMENT].copy_from_slice(&head.to_ne_bytes());
        }
    }
}
