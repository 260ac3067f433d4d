//! In charge of our own records as Postgres's jsonb, written as they are told: `jsonb_in` would take their JSON apart
//! again, sort and copy it, ten times as long.
//!
//! The form is that of utils/jsonb.h, which is on every disk and so is the same in all versions: a head with a count, an
//! entry for each key and each value, and then what they hold. Keys stand by their length, then by their bytes, and all
//! of them before the values. We write objects, arrays, texts and `true` only.

use pgrx::pg_sys;

use crate::error::Error;
use crate::form::{Names, Writer};

pub const IS_ARRAY: u32 = 0x4000_0000;
pub const IS_OBJECT: u32 = 0x2000_0000;
pub const ENTRY_TEXT: u32 = 0x0000_0000;
pub const ENTRY_TRUE: u32 = 0x3000_0000;
pub const ENTRY_CONTAINER: u32 = 0x5000_0000;
/// Each so many entries one has the offset of its end instead of its length.
pub const HAS_OFFSET: u32 = 0x8000_0000;
const OFFSET_STRIDE: usize = 32;
/// An entry has 28 bits for a length.
const BYTES_MAX: usize = 0x0fff_ffff;
const ALIGNMENT: usize = size_of::<u32>();

/// Appends to what stands aligned.
pub struct Jsonb<'o> {
    out: &'o mut Vec<u8>,
    /// What the last value was.
    kind: u32,
}

/// An object or array that is being written.
struct Container {
    entries: usize,
    next: usize,
    begin: usize,
    /// Where the last entry's value ends.
    end: usize,
}

impl<'o> Jsonb<'o> {
    pub fn on(out: &'o mut Vec<u8>) -> Jsonb<'o> {
        Jsonb { out, kind: ENTRY_CONTAINER }
    }

    fn open(&mut self, head: u32, count: usize, entries: usize) -> Container {
        self.out.resize(self.out.len().next_multiple_of(ALIGNMENT), 0);
        self.out.extend_from_slice(&(head | count as u32).to_ne_bytes());
        let table = self.out.len();
        let begin = table + entries * ALIGNMENT;
        self.out.resize(begin, 0);
        Container { entries: table, next: 0, begin, end: begin }
    }

    /// What was written last is the container's next.
    fn enter(&mut self, container: &mut Container) {
        let end = self.out.len();
        let all = end - container.begin;
        if all > BYTES_MAX {
            let reason = format!("a record as jsonb takes more than {BYTES_MAX} bytes");
            Error::TooLarge(reason).report()
        }
        let head = match container.next % OFFSET_STRIDE {
            0 => HAS_OFFSET | all as u32,
            _ => (end - container.end) as u32,
        };
        let place = container.entries + container.next * ALIGNMENT;
        self.out[place..place + ALIGNMENT].copy_from_slice(&(self.kind | head).to_ne_bytes());
        container.next += 1;
        container.end = end;
    }

    fn key(&mut self, name: &str, container: &mut Container) {
        self.text(name);
        self.enter(container);
    }
}

impl Writer for Jsonb<'_> {
    fn object(
        &mut self,
        names: &Names,
        is_there: impl Fn(usize) -> bool,
        mut value: impl FnMut(&mut Self, usize),
    ) {
        let members = || names.by_length.iter().copied().filter(|at| is_there(*at));
        let count = members().count();
        let mut container = self.open(IS_OBJECT, count, 2 * count);
        for at in members() {
            self.key(&names.names[at].text, &mut container);
        }
        for at in members() {
            value(self, at);
            self.enter(&mut container);
        }
        self.kind = ENTRY_CONTAINER;
    }

    fn members<T>(&mut self, members: &[(&str, T)], mut value: impl FnMut(&mut Self, &T)) {
        let mut members: Vec<&(&str, T)> = members.iter().collect();
        members.sort_unstable_by_key(|(name, _)| (name.len(), *name));
        let mut container = self.open(IS_OBJECT, members.len(), 2 * members.len());
        for (name, _) in &members {
            self.key(name, &mut container);
        }
        for (_, member) in &members {
            value(self, member);
            self.enter(&mut container);
        }
        self.kind = ENTRY_CONTAINER;
    }

    fn single(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        let mut container = self.open(IS_OBJECT, 1, 2);
        self.key(name, &mut container);
        value(self);
        self.enter(&mut container);
        self.kind = ENTRY_CONTAINER;
    }

    fn list(&mut self, count: usize, mut item: impl FnMut(&mut Self, usize)) {
        let mut container = self.open(IS_ARRAY, count, count);
        for at in 0..count {
            item(self, at);
            self.enter(&mut container);
        }
        self.kind = ENTRY_CONTAINER;
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.kind = ENTRY_TEXT;
    }

    fn plain(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        push(self.out);
        self.kind = ENTRY_TEXT;
    }

    fn truth(&mut self) {
        self.kind = ENTRY_TRUE;
    }
}

/// A jsonb, which has no head of a varlena, as Postgres prints it.
pub fn printed(jsonb: &[u8]) -> Vec<u8> {
    let mut varlena = vec![0; ALIGNMENT];
    varlena.extend_from_slice(jsonb);
    // SAFETY: there is room for the head; what is printed is copied and freed.
    unsafe {
        pgrx::set_varsize_4b(varlena.as_mut_ptr().cast(), varlena.len() as i32);
        let function = pg_sys::Oid::from_u32(pg_sys::F_JSONB_OUT);
        let text = pg_sys::OidOutputFunctionCall(function, varlena.as_mut_ptr().into());
        let bytes = std::ffi::CStr::from_ptr(text).to_bytes().to_vec();
        pg_sys::pfree(text.cast());
        bytes
    }
}
