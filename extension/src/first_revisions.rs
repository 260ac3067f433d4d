//! In charge of the ids of first revisions, of rows that were there when their table was tracked. Mostly they are made
//! where the table is rewritten (`rewrite.rs`); what is here for SQL is for a table that takes ALTER TABLE.

use pgrx::AnyElement;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Encoder, RevisionId};
use std::cell::{Cell, RefCell};

use crate::codec::Codec;
use crate::error::{Error, OrReport};
use crate::row::{self, Cells};
use crate::settings::Settings;

/// What is known of the rows that are being hashed: the type that they have, and their attributes by the bytes of
/// their names.
struct Bodies {
    row_type: (pg_sys::Oid, i32),
    names: String,
    desc: pg_sys::TupleDesc,
    attributes: Vec<(String, usize, Codec)>,
    needs_settings: bool,
}

thread_local! {
    /// Of the latest table: its rows come one after the other.
    static BODIES: RefCell<Option<Bodies>> = const { RefCell::new(None) };
    /// Rows hashed in this transaction, and which transaction that is.
    static HASHED: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// The first revision of a row that was there before its table was tracked. `names` is a JSON array of the
/// attributes' names, which stand beside the members of `body`.
#[pg_extern(sql = false)]
fn _first_revision_of(id: &str, names: &str, body: AnyElement) -> Vec<u8> {
    check_id(id);
    say_how_far(count());
    let tuple = Tuple::of(&body).or_report();
    // Taken out while it is used: a type's output function may lead here again.
    let known = BODIES.take().filter(|known| known.is_of(&tuple, names));
    let bodies = known.unwrap_or_else(|| Bodies::of(&tuple, names).or_report());
    let revision = bodies.revision(id, tuple);
    // A type with a name may be altered and keep its OID; what a row expression is of stays as it is.
    if bodies.row_type.0 == pg_sys::RECORDOID {
        BODIES.set(Some(bodies));
    }
    revision.to_sortable()
}

/// A composite datum that says of what type it is.
struct Tuple {
    row_type: (pg_sys::Oid, i32),
    data: pg_sys::HeapTupleData,
}

impl Tuple {
    fn of(body: &AnyElement) -> Result<Tuple, Error> {
        // SAFETY: the datum is read as a tuple only after its type has been looked at.
        unsafe {
            let class = pg_sys::get_typtype(body.oid()) as u8;
            if class != pg_sys::TYPTYPE_COMPOSITE && body.oid() != pg_sys::RECORDOID {
                return Err(Error::BadArgument("this function takes a row".into()));
            }
            let header = pg_sys::pg_detoast_datum(body.datum().cast_mut_ptr());
            Ok(row::tuple_of(header.cast()))
        }
        .map(|(row_type, data)| Tuple { row_type, data })
    }
}

impl Bodies {
    fn is_of(&self, tuple: &Tuple, names: &str) -> bool {
        self.row_type == tuple.row_type && self.names == names
    }

    fn of(tuple: &Tuple, names: &str) -> Result<Bodies, Error> {
        let list: Vec<String> = serde_json::from_str(names)
            .map_err(|_| Error::BadArgument("the names are a JSON array of texts".into()))?;
        let (type_oid, type_mod) = tuple.row_type;
        // SAFETY: the descriptor is copied to where it stays; the last one's copy is freed in `drop`.
        let desc = unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let desc = pg_sys::lookup_rowtype_tupdesc_copy(type_oid, type_mod);
            pg_sys::MemoryContextSwitchTo(outer);
            desc
        };
        let mut bodies = Bodies {
            row_type: tuple.row_type,
            names: names.to_owned(),
            desc,
            attributes: Vec::new(),
            needs_settings: false,
        };
        // SAFETY: the descriptor was made a moment ago.
        let count = unsafe { (*desc).natts as usize };
        if count != list.len() {
            return Err(Error::BadArgument("a row has as many members as there are names".into()));
        }
        for (at, name) in list.into_iter().enumerate() {
            // SAFETY: the position is below the descriptor's count.
            let attribute = unsafe { row::attribute(desc, at) };
            let codec = Codec::of(attribute.atttypid, attribute.atttypmod);
            bodies.needs_settings |= codec.needs_settings();
            bodies.attributes.push((name, at, codec));
        }
        bodies.attributes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(bodies)
    }

    fn revision(&self, id: &str, mut tuple: Tuple) -> RevisionId {
        let _settings = self.needs_settings.then(Settings::fixed);
        // SAFETY: the tuple says that it is of this type.
        let cells = unsafe { Cells::of(&mut tuple.data, self.desc) };
        let mut encoder = Encoder::new(id, None, false, self.attributes.len());
        for (name, at, codec) in &self.attributes {
            encoder.attribute_by(name, |out| cells.hash_at(*at, codec, out));
        }
        encoder.finish()
    }
}

impl Drop for Bodies {
    fn drop(&mut self) {
        // SAFETY: this copy is nobody else's.
        unsafe { pg_sys::FreeTupleDesc(self.desc) };
    }
}

pub fn check_id(id: &str) {
    if id.is_empty() || id.len() > revision::ID_BYTES_MAX {
        let reason = format!("must have 1 to {} bytes", revision::ID_BYTES_MAX);
        Error::BadId { id: crate::put::short(id), reason }.report()
    }
}

/// `godwit.track` hashes every row of a table in one statement: it says how far it is.
pub fn say_how_far(rows: u64) {
    const EACH: u64 = 250_000;
    if rows.is_multiple_of(EACH) {
        notice!("{rows} rows hashed");
    }
}

/// How many rows this transaction has hashed, this one included.
fn count() -> u64 {
    // SAFETY: reads the transaction's own state.
    let transaction = unsafe { pg_sys::GetTopTransactionIdIfAny() };
    let (of, rows) = HASHED.get();
    let rows = if of == transaction.into_inner() { rows + 1 } else { 1 };
    HASHED.set((transaction.into_inner(), rows));
    rows
}
