//! In charge of reading a page of a twin's key where it stands in its file: what it says of itself, and its entries.
//!
//! A page is copied, so that nothing is locked while it is looked at, unless one entry is all that is wanted.

use pgrx::pg_sys;
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, varsize_1b, varsize_4b};

use crate::unguarded::{self, guarded};

const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;
const HEAD_BYTES: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
/// Where a page says how far its line pointers go, and where its last part begins.
const LOWER_AT: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_lower);
const SPECIAL_AT: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_special);
const PLACE_BYTES: usize = size_of::<pg_sys::ItemPointerData>();
const VALUE_ALIGNMENT: usize = align_of::<i32>();
const ENTRY_HEAD_BYTES: usize = size_of::<pg_sys::IndexTupleData>();

// What follows is from access/nbtree.h, which pgrx doesn't read.
pub const METAPAGE: pg_sys::BlockNumber = 0;
pub const NO_PAGE: pg_sys::BlockNumber = 0;
/// The first page's `btm_root` and `btm_fastroot`, behind its head.
const ROOT_AT: usize = HEAD_BYTES + 8;
const FAST_ROOT_AT: usize = HEAD_BYTES + 16;
/// Of a page's last part: `btpo_prev`, `btpo_next` and `btpo_flags`.
const PREVIOUS_AT: usize = 0;
const NEXT_AT: usize = 4;
const FLAGS_AT: usize = 12;
const IS_LEAF: u16 = 1 << 0;
const IS_DELETED: u16 = 1 << 2;
const IS_HALF_DEAD: u16 = 1 << 4;
/// An entry whose place says something else. One of several rows has that; but a type must say of itself that equal
/// values are alike before its entries are put together so, and `godwit.revision` doesn't.
const HAS_OTHER_PLACE: u32 = 0x2000;

/// What isn't laid out as was thought; Postgres itself may tell why.
#[derive(Debug)]
pub struct Unreadable;

/// A copy of a page.
#[repr(C, align(8))]
pub struct Page {
    bytes: [u8; PAGE_BYTES],
}

impl Page {
    /// One to read into.
    pub const EMPTY: Page = Page { bytes: [0; PAGE_BYTES] };

    /// Reads a page of an index, which must be a B-tree's.
    ///
    /// # Safety
    /// The index must be open.
    pub unsafe fn read(&mut self, index: pg_sys::Relation, number: pg_sys::BlockNumber) {
        let bytes = self.bytes.as_mut_ptr();
        // SAFETY: the caller has the index open; the page is locked while it is copied.
        unsafe {
            guarded(|| {
                let (buffer, page) = Page::hold(index, number);
                page.cast::<u8>().copy_to_nonoverlapping(bytes, PAGE_BYTES);
                unguarded::UnlockReleaseBuffer(buffer);
            });
        }
    }

    /// Hands a page to `look` where it stands, which others can't change meanwhile: for who wants little of it. What a look
    /// may find another time than the one before are marks of entries that nobody sees any more.
    ///
    /// # Safety
    /// As of `read`.
    pub unsafe fn look<T>(
        index: pg_sys::Relation,
        number: pg_sys::BlockNumber,
        look: impl FnOnce(&Page) -> T,
    ) -> T {
        // SAFETY: the caller has the index open. The page stays until its buffer is given up: here, or by the abort of the
        // (sub)transaction.
        unsafe {
            let (buffer, page) = guarded(|| Page::hold(index, number));
            let found = look(&*page);
            guarded(|| unguarded::UnlockReleaseBuffer(buffer));
            found
        }
    }

    /// The same behind a guard of the caller's: `look` owns nothing, and never panics.
    ///
    /// # Safety
    /// As of `read`, and it is called by `guarded`.
    pub unsafe fn look_unguarded<T>(
        index: pg_sys::Relation,
        number: pg_sys::BlockNumber,
        look: impl FnOnce(&Page) -> T,
    ) -> T {
        // SAFETY: as above.
        unsafe {
            let (buffer, page) = Page::hold(index, number);
            let found = look(&*page);
            unguarded::UnlockReleaseBuffer(buffer);
            found
        }
    }

    /// A page and its buffer, which is locked. A buffer is as long as a page and aligned as one.
    unsafe fn hold(
        index: pg_sys::Relation,
        number: pg_sys::BlockNumber,
    ) -> (pg_sys::Buffer, *const Page) {
        // SAFETY: the caller has the index open, and is behind a guard.
        unsafe {
            let buffer = unguarded::ReadBuffer(index, number);
            unguarded::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            unguarded::_bt_checkpage(index, buffer);
            (buffer, pg_sys::BufferGetPage(buffer).cast())
        }
    }

    /// Of the first page: the one to go down from, none while nothing is in the index.
    pub fn root(&self) -> Option<pg_sys::BlockNumber> {
        match self.number(ROOT_AT)? {
            NO_PAGE => Some(NO_PAGE),
            _ => self.number(FAST_ROOT_AT),
        }
    }

    /// The line pointers of what isn't the bound to the right, which all but the last page begin with.
    pub fn pointers(&self) -> Option<&[pg_sys::ItemIdData]> {
        let all = self.all_pointers()?;
        match self.next()? {
            NO_PAGE => Some(all),
            _ => all.get(1..),
        }
    }

    /// What no entry further to the right is below; none on the last page.
    pub fn bound(&self) -> Option<&[u8]> {
        match self.next()? {
            NO_PAGE => None,
            _ => self.item(*self.all_pointers()?.first()?),
        }
    }

    fn all_pointers(&self) -> Option<&[pg_sys::ItemIdData]> {
        let bytes = self.bytes.get(HEAD_BYTES..short(&self.bytes, LOWER_AT)?.into())?;
        let count = bytes.len() / size_of::<pg_sys::ItemIdData>();
        // SAFETY: a pointer is bits alone, and they stand aligned behind the page's head.
        Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) })
    }

    #[inline]
    pub fn item(&self, pointer: pg_sys::ItemIdData) -> Option<&[u8]> {
        let (at, length) = (pointer.lp_off() as usize, pointer.lp_len() as usize);
        self.bytes.get(at..at + length).filter(|_| at.is_multiple_of(align_of::<Page>()))
    }

    /// The page to go on with from one that isn't a leaf: the first below it that may have the record.
    pub fn below(&self, id: &[u8]) -> Option<pg_sys::BlockNumber> {
        if !self.is_below_bound(|bound| id <= bound)? {
            return self.next();
        }
        // The first says nothing of an id: it is below all.
        let pointers = self.pointers()?;
        let at = self.count_while(pointers.get(1..)?, |found| found < id)?;
        child(self.item(*pointers.get(at)?)?)
    }

    pub fn is_below_bound(&self, is_below: impl Fn(&[u8]) -> bool) -> Option<bool> {
        match self.next()? {
            NO_PAGE => Some(true),
            _ => Some(is_below(id_of(self.bound()?)?)),
        }
    }

    /// How many entries come before the first of which that isn't so; None if one that was looked at can't be read.
    pub fn count_while(
        &self,
        pointers: &[pg_sys::ItemIdData],
        is_so: impl Fn(&[u8]) -> bool,
    ) -> Option<usize> {
        let mut is_read = true;
        let count = pointers.partition_point(|pointer| {
            let id = self.item(*pointer).and_then(id_of);
            is_read &= id.is_some();
            id.is_some_and(&is_so)
        });
        is_read.then_some(count)
    }

    pub fn first_child(&self) -> Option<pg_sys::BlockNumber> {
        child(self.item(*self.pointers()?.first()?)?)
    }

    pub fn next(&self) -> Option<pg_sys::BlockNumber> {
        self.number(self.special()? + NEXT_AT)
    }

    pub fn is_ignored(&self) -> Option<bool> {
        Some(self.flags()? & (IS_DELETED | IS_HALF_DEAD) != 0)
    }

    pub fn is_leaf(&self) -> Option<bool> {
        Some(self.flags()? & IS_LEAF != 0)
    }

    pub fn is_first(&self) -> Option<bool> {
        Some(self.number(self.special()? + PREVIOUS_AT)? == NO_PAGE)
    }

    fn flags(&self) -> Option<u16> {
        short(&self.bytes, self.special()? + FLAGS_AT)
    }

    fn special(&self) -> Option<usize> {
        short(&self.bytes, SPECIAL_AT).map(usize::from)
    }

    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }
}

/// Whether ids stand in the order of their bytes, as in the key that was made with the twin.
///
/// # Safety
/// The index must be open.
pub unsafe fn is_by_bytes(index: pg_sys::Relation) -> bool {
    // SAFETY: the caller has it open, and it has a collation for each column.
    unsafe {
        (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
            && *(*index).rd_indcollation == pg_sys::C_COLLATION_OID
    }
}

/// What the key says of a row.
pub struct KeyEntry<'p> {
    pub id: &'p [u8],
    /// In its stored form.
    pub revision: &'p [u8],
    place: &'p [u8; PLACE_BYTES],
}

impl<'p> KeyEntry<'p> {
    pub fn of(item: &'p [u8]) -> Option<KeyEntry<'p>> {
        let place = item.first_chunk()?;
        if !is_of_one_row(item) {
            return None;
        }
        let (id, end) = value(item, ENTRY_HEAD_BYTES)?;
        let (revision, _) = value(item, end)?;
        Some(KeyEntry { id, revision, place })
    }
}

impl KeyEntry<'_> {
    /// Where its row is.
    pub fn place(&self) -> pg_sys::ItemPointerData {
        // SAFETY: a place is numbers alone, and these are as many bytes.
        unsafe { self.place.as_ptr().cast::<pg_sys::ItemPointerData>().read_unaligned() }
    }
}

/// Whether an entry is one row's, of this record and of a revision that begins with a byte, both with short heads.
#[inline]
pub fn is_plainly(item: &[u8], id: &[u8], first: u8) -> bool {
    let is_short = |at: usize, length: Option<usize>| {
        let Some(head) = item.get(at) else { return false };
        let head: *const pg_sys::varlena = std::ptr::from_ref(head).cast();
        // SAFETY: what has a short head is told by that one byte.
        unsafe {
            let is_it = varatt_is_1b(head) && !varatt_is_1b_e(head);
            is_it && length.is_none_or(|length| varsize_1b(head) == 1 + length)
        }
    };
    let (from, end) = (ENTRY_HEAD_BYTES + 1, ENTRY_HEAD_BYTES + 1 + id.len());
    is_of_one_row(item)
        && is_short(from - 1, Some(id.len()))
        && item.get(from..end) == Some(id)
        && is_short(end, None)
        && item.get(end + 1) == Some(&first)
}

/// Whether it says where a row is, and has no nulls.
fn is_of_one_row(item: &[u8]) -> bool {
    let other = pg_sys::INDEX_NULL_MASK | HAS_OTHER_PLACE;
    short(item, PLACE_BYTES).is_some_and(|info| u32::from(info) & other == 0)
}

/// The record's id that an item of any page begins with.
pub fn id_of(item: &[u8]) -> Option<&[u8]> {
    let has_nulls = u32::from(short(item, PLACE_BYTES)?) & pg_sys::INDEX_NULL_MASK != 0;
    if has_nulls { None } else { value(item, ENTRY_HEAD_BYTES).map(|(id, _)| id) }
}

/// The page that an item says is below.
pub fn child(item: &[u8]) -> Option<pg_sys::BlockNumber> {
    let (high, low) = (short(item, 0)?, short(item, 2)?);
    Some(u32::from(high) << u16::BITS | u32::from(low))
}

/// The bytes of a varlena that stands at a place of an entry or, if it is aligned, behind some zeros; and where it
/// ends. None for one that is compressed.
fn value(item: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head: *const pg_sys::varlena = item.get(at..)?.as_ptr().cast();
    // SAFETY: what has a short head is told by its first byte, the others stand aligned: so do items of a page.
    unsafe {
        if item.len() > at && varatt_is_1b(head) {
            let end = at + varsize_1b(head);
            return (!varatt_is_1b_e(head)).then_some((item.get(at + 1..end)?, end));
        }
        let at = at.next_multiple_of(VALUE_ALIGNMENT);
        let from = at + pg_sys::VARHDRSZ;
        let head: *const pg_sys::varlena = item.get(at..from)?.as_ptr().cast();
        let end = at + varsize_4b(head);
        varatt_is_4b_u(head).then_some((item.get(from..end)?, end))
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
