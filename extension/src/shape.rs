//! In charge of what a backend knows about a tracked table: its columns, its key, its twin.
//!
//! Read from the catalogs once and kept until the relation cache says that either changed.

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::OnceLock;

use crate::append_plan::Plan;
use crate::codec::Codec;
use crate::era::Eras;
use crate::error::{Error, OrReport};
use crate::key_top::Near;
use crate::own;
use crate::policy::Policy;
use crate::relation::{self, Index, Relation};
use crate::settings::Settings;
use crate::spi::{self, Row};

pub struct Column {
    pub name: String,
    /// The name as SQL takes it.
    pub quoted: String,
    pub number: i16,
    pub codec: Codec,
    pub generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: an UPDATE can't name it.
    pub identity_always: bool,
    /// The default's expression.
    pub default: Option<String>,
    /// The key's own equality operator, as `operator(schema.=)`; empty outside the key.
    pub equals: String,
    /// The type as SQL takes it under any search path.
    pub type_name: String,
    /// Whether its collation takes other texts for equal.
    pub is_loose: bool,
}

pub struct Shape {
    pub relation: pg_sys::Oid,
    pub owner: pg_sys::Oid,
    /// The table's bare name.
    pub name: String,
    /// The table's name on the wire: bare in `public`, else with its schema.
    pub wire_name: String,
    /// Table and twin as SQL takes them, with their schemas.
    pub table: String,
    pub twin: String,
    pub twin_relation: pg_sys::Oid,
    indexes: Indexes,
    pub revision_number: i16,
    /// How many of `columns` stand before `_rev`.
    pub revision_place: usize,
    pub revision_type: pg_sys::Oid,
    /// The table's columns but `_rev`, in their order.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the key, in its order.
    pub key: Vec<usize>,
    /// Positions in `columns` of the attributes, by the bytes of their names.
    pub attributes: Vec<usize>,
    pub needs_settings: bool,
    pub keys: Rc<Keys>,
    /// Whether every row has a revision: not while `track_online` is at work.
    pub is_complete: bool,
    /// What is done about conflicts.
    pub policy: revision::Policy,
    pub row_security: bool,
    pub policies: Vec<Policy>,
    pub eras: Eras,
    /// How rows are added to the twin without SQL, once that was looked at; see `append.rs`.
    pub append: OnceLock<Option<Rc<Plan>>>,
    /// Where in the twin's key the last look for a record ended.
    pub near: Near,
    /// What the catalog cache calls the columns' types, whose names are in `type_name`.
    type_hashes: Vec<u32>,
}

/// What keeps the rows of a table and of its partitions apart.
pub struct Keys {
    /// The table, its partitions, and theirs.
    relations: Vec<pg_sys::Oid>,
    /// Whether an INSERT may say ON CONFLICT: not beside rules, nor where a unique constraint is deferrable.
    pub takes_on_conflict: bool,
    /// Whether the primary key is all that an INSERT may find taken.
    pub has_one: bool,
}

/// The twin's indexes as they were read. REINDEX CONCURRENTLY puts others in their places.
#[derive(Clone, Copy)]
struct Indexes {
    key: pg_sys::Oid,
    /// That of the revisions that have more than the columns say.
    extras: Option<pg_sys::Oid>,
}

thread_local! {
    static SHAPES: RefCell<FxHashMap<pg_sys::Oid, Rc<Shape>>> = RefCell::default();
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// How often anything was invalidated.
    static INVALIDATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The columns that every twin has, and their types; two more hold revisions.
const OWN_COLUMNS: [(&str, pg_sys::Oid); 7] = [
    ("_id", pg_sys::TEXTOID),
    ("_deleted", pg_sys::BOOLOID),
    ("_seq", pg_sys::INT8OID),
    ("_at", pg_sys::TIMESTAMPTZOID),
    ("_by", pg_sys::TEXTOID),
    ("_stub", pg_sys::BOOLOID),
    ("_extra", pg_sys::JSONBOID),
];

impl Shape {
    /// The shape of a tracked table.
    pub fn of(relation: pg_sys::Oid) -> Result<Rc<Shape>, Error> {
        let shape = Shape::of_rows(relation)?;
        if shape.relation == relation {
            Ok(shape)
        } else {
            let reason = format!("{} is a partition: name {}", name_of(relation), shape.table);
            Err(Error::BadArgument(reason))
        }
    }

    /// The shape of a table that is about to be written, which nobody alters until the transaction ends. What was read
    /// before the table was locked may not be its shape any more: values made by it would be taken for others. For who
    /// may write to it.
    pub fn held(self: Rc<Shape>) -> Result<Rc<Shape>, Error> {
        let mut shape = self;
        loop {
            pgrx::check_for_interrupts!();
            lock_to_write(shape.relation);
            shape.lock_twin();
            if shape.is_current() {
                return Ok(shape);
            }
            shape = Shape::of(shape.relation)?;
        }
    }

    /// Locks the twin as who writes to it does. Before its indexes, as everybody else takes them.
    pub fn lock_twin(&self) {
        lock_to_write(self.twin_relation);
    }

    /// As who reads it does.
    pub fn lock_twin_to_read(&self) {
        lock(self.twin_relation, pg_sys::AccessShareLock);
    }

    /// The index of the twin's key. For who has locked the twin: from then on it stays.
    pub fn twin_index(&self) -> pg_sys::Oid {
        self.indexes().key
    }

    /// The index of the twin's revisions that have more than the columns say; for who has locked the twin.
    pub fn extras_index(&self) -> Option<pg_sys::Oid> {
        self.indexes().extras
    }

    /// What was heard of when the twin was locked may have been that they are others.
    fn indexes(&self) -> Indexes {
        match self.is_current() {
            true => self.indexes,
            false => Shape::of(self.relation).or_report().indexes,
        }
    }

    /// Whether nothing was heard since it was read that could have made it another.
    pub fn is_current(&self) -> bool {
        SHAPES.with_borrow(|shapes| {
            shapes.get(&self.relation).is_some_and(|known| std::ptr::eq(Rc::as_ptr(known), self))
        })
    }

    /// Whether a relation was found to be a tracked table, and nothing was heard since that could have changed it.
    pub fn is_known(relation: pg_sys::Oid) -> bool {
        SHAPES.with_borrow(|shapes| {
            shapes.get(&relation).is_some_and(|shape| shape.relation == relation)
        })
    }

    /// The shape by which a trigger on this table reads its rows: of the table itself, or of the tracked
    /// table that it is a partition of, with the partition's own column numbers.
    pub fn of_rows(relation: pg_sys::Oid) -> Result<Rc<Shape>, Error> {
        watch();
        if let Some(shape) = SHAPES.with_borrow(|shapes| shapes.get(&relation).cloned()) {
            return Ok(shape);
        }
        let before = INVALIDATIONS.get();
        let root = root_of(relation);
        let shape = Rc::new(match root == relation {
            true => Shape::read(root, None)?,
            false => Shape::read(root, Some(&Shape::of_rows(root)?.keys))?.renumbered(relation)?,
        });
        // What changed while it was read would not be heard of again.
        if INVALIDATIONS.get() == before {
            SHAPES.with_borrow_mut(|shapes| shapes.insert(relation, Rc::clone(&shape)));
        }
        Ok(shape)
    }

    /// A partition may have its columns in another order.
    fn renumbered(mut self, partition: pg_sys::Oid) -> Result<Shape, Error> {
        let found = Relation::of(partition).ok_or_else(|| not_tracked(partition))?;
        let number = |name: &str| {
            found.column(name).map(|column| column.number).ok_or_else(|| {
                Error::Internal(format!("{} has no column {name:?}", name_of(partition)))
            })
        };
        for column in &mut self.columns {
            column.number = number(&column.name)?;
        }
        self.revision_number = number("_rev")?;
        Ok(self)
    }

    /// The shape of the table that a twin belongs to; `None` for a twin that is left over.
    pub fn of_twin(twin: pg_sys::Oid) -> Result<Option<Rc<Shape>>, Error> {
        let cached =
            SHAPES.with_borrow(|s| s.values().find(|shape| shape.twin_relation == twin).cloned());
        if let Some(cached) = cached {
            return Shape::of(cached.relation).map(Some);
        }
        let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
        let sql = "select relation::oid from godwit.tracked where twin = $1";
        let found = spi::rows(sql, &[spi::oid(twin)], |row| row.need::<pg_sys::Oid>(1));
        found.first().map(|relation| Shape::of(*relation)).transpose()
    }

    /// `keys` may be known: to read them takes a look at each partition.
    fn read(relation: pg_sys::Oid, keys: Option<&Rc<Keys>>) -> Result<Shape, Error> {
        // What is read here runs under other paths and settings, defaults under the caller's own: names are
        // qualified, and constants read the same under any.
        let _settings = Settings::fixed();
        let Some(tracked) = Tracked::of(relation)? else { return Err(not_tracked(relation)) };
        let (Some(table), Some(twin)) = (Relation::of(relation), Relation::of(tracked.twin)) else {
            return Err(not_tracked(relation));
        };
        let Some(revision) = table.column("_rev") else { return Err(not_tracked(relation)) };
        // They are read as what they are named for.
        if !has_own_columns(&twin) || revision.type_oid != own::type_named(c"revision") {
            let reason = "columns of Godwit's own have other types than it gave them";
            return Err(Error::BadArgument(format!("{}: {reason}", name_of(relation))));
        }
        let indexes = Index::all_of(relation);
        let primary = indexes.iter().find(|index| index.is_primary);
        // Columns that are renamed are named anew when the twin follows. A key of others isn't what records are named by.
        if primary.is_some_and(|primary| primary.columns.len() != tracked.key.len()) {
            let reason = format!(
                "{}: its records are named by ({}), and its primary key has other columns: untrack it and drop its history, and track it again",
                name_of(relation),
                tracked.key.join(", ")
            );
            return Err(Error::BadArgument(reason));
        }
        let columns: Vec<Column> = table
            .columns
            .iter()
            .filter(|column| column.name != "_rev")
            .map(|column| Column::of(column, primary))
            .collect();
        let place = |number: &i16| columns.iter().position(|column| column.number == *number);
        let key = primary
            .map_or_else(Vec::new, |primary| primary.columns.iter().filter_map(place).collect());
        let mut attributes: Vec<usize> =
            (0..columns.len()).filter(|at| columns[*at].is_attribute()).collect();
        attributes.sort_unstable_by(|a, b| columns[*a].name.cmp(&columns[*b].name));
        let eras = Eras::of(relation);
        Ok(Shape {
            relation,
            owner: table.owner,
            table: table.quoted(),
            wire_name: match table.schema.as_str() {
                "public" => table.name.clone(),
                schema => format!("{schema}.{}", table.name),
            },
            twin: twin.quoted(),
            twin_relation: tracked.twin,
            indexes: Indexes::of(tracked.twin, &twin),
            revision_number: revision.number,
            revision_place: columns
                .iter()
                .take_while(|column| column.number < revision.number)
                .count(),
            revision_type: revision.type_oid,
            needs_settings: columns.iter().any(|column| column.codec.needs_settings())
                || eras.are_cast(),
            keys: keys.map_or_else(|| Rc::new(Keys::of(relation, &table)), Rc::clone),
            is_complete: revision.not_null,
            policy: tracked.policy,
            row_security: table.has_row_security,
            policies: if table.has_row_security { Policy::all(relation) } else { Vec::new() },
            append: OnceLock::new(),
            near: Near::default(),
            type_hashes: columns.iter().flat_map(type_hashes).collect(),
            name: table.name,
            columns,
            key,
            attributes,
            eras,
        })
    }

    /// The fixed settings, where this table's values need them.
    pub fn settings(&self) -> Option<Settings> {
        self.needs_settings.then(Settings::fixed)
    }

    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|at| &self.columns[*at])
    }

    /// The columns that hold attributes, by the bytes of their names.
    pub fn attribute_columns(&self) -> impl Iterator<Item = &Column> {
        self.attributes.iter().map(|at| &self.columns[*at])
    }

    /// All the table's living columns in their order; `None` is `_rev`.
    pub fn in_order(&self) -> impl Iterator<Item = Option<&Column>> {
        let (before, after) = self.columns.split_at(self.revision_place);
        before.iter().map(Some).chain(std::iter::once(None)).chain(after.iter().map(Some))
    }

    pub fn attribute(&self, name: &str) -> Option<&Column> {
        self.attribute_columns().find(|column| column.name == name)
    }

    /// The column that shows an attribute, by its name or by the name that it had.
    pub fn column_for(&self, name: &str) -> Option<&Column> {
        self.attribute(name).or_else(|| self.attribute(self.eras.column_of_former(name)?))
    }

    /// Whether the record id is a column `_id` of the table and of the twin alike.
    pub fn has_id_column(&self) -> bool {
        self.key.len() == 1 && self.columns[self.key[0]].name == "_id"
    }

    /// SQL that says whether a row of the table and one of the twin are of the same record. The twin's `_id` has a collation
    /// of its own, by which the table's key can't be looked into.
    pub fn same_record(&self, row: &str, of_twin: &str) -> String {
        match self.has_id_column() {
            true => format!("{row}._id = {of_twin}._id collate {}", self.collation_of_id()),
            false => self.same_key(row, of_twin),
        }
    }

    fn collation_of_id(&self) -> String {
        let number = self.columns[self.key[0]].number;
        let (mut of_type, mut modifier, mut collation) = (0.into(), 0, 0.into());
        // SAFETY: catalog look-ups by OIDs; the name is allocated here.
        unsafe {
            let out = (&mut of_type, &mut modifier, &mut collation);
            pg_sys::get_atttypetypmodcoll(self.relation, number, out.0, out.1, out.2);
            let name = pg_sys::generate_collation_name(collation);
            std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
        }
    }

    /// Columns that the twin has beside Godwit's own, each as `prefix.name` or bare.
    pub fn body_columns(&self, prefix: &str) -> String {
        let names: Vec<String> =
            self.attribute_columns().map(|column| format!(", {prefix}{}", column.quoted)).collect();
        names.concat()
    }

    /// SQL for the record id of a row of the table.
    pub fn id_of_row(&self, row: &str) -> String {
        let columns: Vec<&Column> = self.key_columns().collect();
        match columns[..] {
            [column] if column.codec.casts_to_text() => {
                format!("{row}.{}::pg_catalog.text collate pg_catalog.\"C\"", column.quoted)
            }
            _ => {
                let parts: Vec<String> =
                    columns.iter().map(|column| format!("{row}.{}", column.quoted)).collect();
                format!("godwit._record_id(row({})) collate pg_catalog.\"C\"", parts.join(", "))
            }
        }
    }

    /// SQL for a whole row as the table's own type. In a transition table `n.*` would be of type
    /// record, and `n` the column of that name, where the app has one.
    pub fn whole_row(&self, row: &str) -> String {
        let members: Vec<String> = self
            .in_order()
            .map(|column| format!("{row}.{}", column.map_or("_rev", |column| &column.quoted)))
            .collect();
        format!("row({})::{}", members.join(", "), self.table)
    }

    /// SQL that says whether two rows, or a row and a twin's row, have the same key.
    pub fn same_key(&self, left: &str, right: &str) -> String {
        let parts: Vec<String> = self
            .key_columns()
            .map(|column| format!("{left}.{0} {1} {right}.{0}", column.quoted, column.equals))
            .collect();
        parts.join(" and ")
    }
}

/// What `godwit.tracked` says of a table.
struct Tracked {
    twin: pg_sys::Oid,
    key: Vec<String>,
    policy: revision::Policy,
}

impl Tracked {
    fn of(relation: pg_sys::Oid) -> Result<Option<Tracked>, Error> {
        // SAFETY: a catalog look-up by OID and name. An update of the extension adds the columns.
        let number = |name: &CStr| unsafe {
            i32::from(pg_sys::get_attnum(own::relation(c"tracked"), name.as_ptr()))
        };
        let (key, policy) = (number(c"key"), number(c"policy"));
        if key == 0 || policy == 0 {
            let reason =
                "godwit's library is newer than its catalog: ALTER EXTENSION godwit UPDATE";
            return Err(Error::BadArgument(reason.to_owned()));
        }
        let read = |row: &Row| (row.need(2), row.need(key), row.need::<pgrx::JsonB>(policy).0);
        let Some((twin, key, policy)) =
            own::rows_about(relation, c"tracked", c"tracked_pkey", read).pop()
        else {
            return Ok(None);
        };
        let policy = serde_json::from_value(policy)
            .map_err(|error| Error::Internal(format!("a stored policy can't be read: {error}")))?;
        Ok(Some(Tracked { twin, key, policy }))
    }
}

impl Keys {
    fn of(relation: pg_sys::Oid, table: &Relation) -> Keys {
        let relations = relation::tree(relation);
        let indexes: Vec<Index> = relations.iter().copied().flat_map(Index::all_of).collect();
        Keys {
            relations,
            takes_on_conflict: !table.has_rules && indexes.iter().all(|index| index.is_immediate),
            has_one: indexes.iter().all(|index| index.is_primary || !index.is_constraint),
        }
    }
}

impl Indexes {
    fn of(twin: pg_sys::Oid, columns: &Relation) -> Indexes {
        let number = |name: &str| columns.column(name).map_or(0, |column| column.number);
        let (id_and_revision, has_extra) =
            ([number("_id"), number("_rev")], "(_extra IS NOT NULL)");
        let all = Index::all_of(twin);
        let is_of_extras = |index: &&Index| {
            index.is_valid
                && index.columns == id_and_revision
                // Under quote_all_identifiers names are in quotes.
                && index.predicate().is_some_and(|sql| sql.replace('"', "") == has_extra)
        };
        Indexes {
            // None while the twin is being made.
            key: all
                .iter()
                .find(|index| index.is_primary)
                .map_or(pg_sys::InvalidOid, |index| index.oid),
            extras: all.iter().find(is_of_extras).map(|index| index.oid),
        }
    }
}

fn has_own_columns(twin: &Relation) -> bool {
    let revision = own::type_named(c"revision");
    let own = OWN_COLUMNS.iter().copied().chain([("_rev", revision), ("_prev", revision)]);
    own.into_iter()
        .all(|(name, type_oid)| twin.column(name).is_some_and(|column| column.type_oid == type_oid))
}

impl Column {
    /// `key` is its table's primary key.
    fn of(column: &relation::Column, key: Option<&Index>) -> Column {
        let place =
            key.and_then(|key| key.columns.iter().position(|number| *number == column.number));
        Column {
            quoted: quote(&column.name),
            name: column.name.clone(),
            number: column.number,
            codec: Codec::of(column.type_oid, column.type_mod),
            generated: column.is_generated,
            identity_always: column.is_identity_always,
            default: column.default.clone(),
            equals: key.zip(place).and_then(|(key, place)| key.equals(place)).unwrap_or_default(),
            type_name: relation::type_name(column.type_oid, column.type_mod),
            is_loose: column.is_loose(),
        }
    }

    /// The type as people read it.
    pub fn shown_type(&self) -> String {
        relation::shown_type(self.codec.type_oid, self.codec.type_mod)
    }

    /// The record id, Godwit's own and generated columns are no attributes (DESIGN.md section 3).
    fn is_attribute(&self) -> bool {
        !self.generated && self.name != "_id"
    }
}

/// An identifier as SQL takes it.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn is_tracked(relation: pg_sys::Oid) -> bool {
    !own::rows_about(relation, c"tracked", c"tracked_pkey", |_| ()).is_empty()
}

/// The tracked table that a relation is, or is a partition of; itself where there is none.
fn root_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a catalog look-up.
    if !unsafe { pg_sys::get_rel_relispartition(relation) } {
        return relation;
    }
    relation::ancestors(relation).into_iter().find(|of| is_tracked(*of)).unwrap_or(relation)
}

fn not_tracked(relation: pg_sys::Oid) -> Error {
    Error::NotTracked(name_of(relation))
}

fn name_of(relation: pg_sys::Oid) -> String {
    // SAFETY: a catalog look-up; NULL for a relation that is gone.
    let name = unsafe { pg_sys::get_rel_name(relation) };
    if name.is_null() {
        return format!("with OID {}", relation.to_u32());
    }
    // SAFETY: a NUL-terminated string that Postgres allocated.
    let name = unsafe { CStr::from_ptr(name) };
    format!("{:?}", name.to_string_lossy())
}

/// Asks Postgres, once per backend, to be told when a relation changes.
fn watch() {
    if !WATCHING.replace(true) {
        // SAFETY: the callback lives as long as the library, which is never unloaded.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0));
            let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
            pg_sys::CacheRegisterSyscacheCallback(
                schemas,
                Some(forget_all),
                pg_sys::Datum::from(0),
            );
            let types = pg_sys::SysCacheIdentifier::TYPEOID as i32;
            let functions = pg_sys::SysCacheIdentifier::PROCOID as i32;
            // Policies and defaults are kept as texts, which name functions.
            pg_sys::CacheRegisterSyscacheCallback(
                functions,
                Some(forget_all),
                pg_sys::Datum::from(0),
            );
            pg_sys::CacheRegisterSyscacheCallback(types, Some(forget_type), pg_sys::Datum::from(0));
        }
    }
}

fn type_hashes(column: &Column) -> [u32; 2] {
    let hash = |oid: pg_sys::Oid| {
        let (types, none) = (pg_sys::SysCacheIdentifier::TYPEOID as i32, pg_sys::Datum::from(0));
        // SAFETY: a look-up by the cache's one key.
        unsafe { pg_sys::GetSysCacheHashValue(types, pg_sys::Datum::from(oid), none, none, none) }
    };
    // SAFETY: a catalog look-up; an array has its element's name.
    let element = unsafe { pg_sys::get_element_type(column.codec.type_oid) };
    [hash(column.codec.type_oid), hash(element)]
}

/// How often this backend has heard that a relation is another now: what was looked up holds while it is the same.
pub fn heard() -> u64 {
    watch();
    INVALIDATIONS.get()
}

/// Called by Postgres when a type changes: it may have another name.
unsafe extern "C-unwind" fn forget_type(_: pg_sys::Datum, _: i32, hash: u32) {
    INVALIDATIONS.set(INVALIDATIONS.get() + 1);
    SHAPES.with_borrow_mut(|shapes| {
        shapes.retain(|_, shape| hash != 0 && !shape.type_hashes.contains(&hash));
    });
}

/// Called by Postgres when a schema or a function changes: it may have another name.
unsafe extern "C-unwind" fn forget_all(_: pg_sys::Datum, _: i32, _: u32) {
    // SAFETY: as Postgres would call it for all relations.
    unsafe { forget(pg_sys::Datum::from(0), pg_sys::InvalidOid) };
}

fn lock_to_write(relation: pg_sys::Oid) {
    lock(relation, pg_sys::RowExclusiveLock);
}

fn lock(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: a lock by OID, which the transaction's end releases.
    unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) };
}

/// Called by Postgres when a relation's cache entry is dropped; `InvalidOid` stands for all.
unsafe extern "C-unwind" fn forget(_: pg_sys::Datum, relation: pg_sys::Oid) {
    INVALIDATIONS.set(INVALIDATIONS.get() + 1);
    SHAPES.with_borrow_mut(|shapes| {
        shapes.retain(|table, shape| {
            relation != pg_sys::InvalidOid
                && *table != relation
                && shape.relation != relation
                && shape.twin_relation != relation
                && shape.indexes.key != relation
                && shape.indexes.extras != Some(relation)
                // To partitions nothing is put.
                && !(*table == shape.relation && shape.keys.relations.contains(&relation))
        });
    });
}
