//! The Postgres extension `godwit`: history twins, revision hashes, reconciliation. Table of contents.

// pgrx reads the columns of a result from the function's own signature, however long that gets.
#![allow(clippy::type_complexity)]

::pgrx::pg_module_magic!(name, version);

// What a row says.
mod body;
mod bounds;
mod calendar;
mod codec;
mod derive;
mod era;
mod extra;
mod form;
mod jsonb;
mod revision_order;
mod revision_type;
mod row;
mod shape;

// From plain SQL to the history, and from the history to the table.
mod append;
mod append_index;
mod append_plan;
mod batch;
mod capture;
mod capture_by_sql;
mod conflicted;
mod expected;
mod graft;
mod history;
mod incarnation;
mod keyed;
mod known;
mod merging;
mod published;
mod reconcile;
mod restamp;
mod sequence;
mod stamp;
mod transaction;
mod transition;
mod trigger;
mod twin;
mod unguarded;
mod unordered;

// What callers ask for.
mod answer;
mod as_of;
mod attachments;
mod backfill;
mod by_name;
mod by_record;
mod catalog;
mod changes;
mod conflicts;
mod cursor;
mod erase;
mod filter;
mod first_revisions;
mod key_page;
mod key_pages;
mod key_records;
mod key_top;
mod latest;
mod left;
mod lineage;
mod matching;
mod named;
mod nearby;
mod put;
mod put_many;
mod put_revisions;
mod reach;
mod read;
mod rejected;
mod resolve;
mod retry;
mod rewrite;
mod sent_jsonb;
mod straight;
mod stream;
mod verify;
mod walk;

// The ground that all of it stands on.
mod about;
mod argument;
mod ddl;
mod error;
mod own;
mod policy;
mod progress;
mod relation;
mod rights;
mod role;
mod settings;
mod spi;
mod sqlstate;
mod subtransaction;
mod superseded;

::pgrx::extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
::pgrx::extension_sql_file!("../sql/revision.sql", name = "revision", requires = ["schema"]);
::pgrx::extension_sql_file!("../sql/catalog.sql", name = "catalog", requires = ["revision"]);
::pgrx::extension_sql_file!("../sql/internal.sql", name = "internal", requires = ["catalog"]);
::pgrx::extension_sql_file!("../sql/follow.sql", name = "follow", requires = ["internal"]);
::pgrx::extension_sql_file!("../sql/partitions.sql", name = "partitions", requires = ["follow"]);
::pgrx::extension_sql_file!("../sql/track.sql", name = "track", requires = ["partitions"]);
::pgrx::extension_sql_file!("../sql/records.sql", name = "records", requires = ["track"]);
::pgrx::extension_sql_file!("../sql/conflicts.sql", name = "conflicts", requires = ["records"]);
::pgrx::extension_sql_file!("../sql/changes.sql", name = "changes", requires = ["conflicts"]);
::pgrx::extension_sql_file!("../sql/maintain.sql", name = "maintain", requires = ["changes"]);
::pgrx::extension_sql_file!("../sql/peers.sql", name = "peers", requires = ["maintain"]);
::pgrx::extension_sql_file!("../sql/couch.sql", name = "couch", requires = ["peers"]);
::pgrx::extension_sql_file!("../sql/events.sql", name = "events", requires = ["couch"]);
