-- The functions in Rust that Godwit's own SQL and triggers call. An underscore begins their names:
-- they are not for apps, and may change in any release.

create function godwit._stamp() returns trigger
    language c as 'MODULE_PATHNAME', 'godwit_stamp';
create function godwit._capture() returns trigger
    language c as 'MODULE_PATHNAME', 'godwit_capture';
create function godwit._reconcile() returns trigger
    language c as 'MODULE_PATHNAME', 'godwit_reconcile';

create function godwit._next_sequence() returns bigint
    language c volatile as 'MODULE_PATHNAME', '_next_sequence_wrapper';
create function godwit._author() returns text
    language c volatile as 'MODULE_PATHNAME', '_author_wrapper';
create function godwit._horizon() returns bigint
    language c volatile as 'MODULE_PATHNAME', '_horizon_wrapper';
create function godwit._await_change(known bigint, timeout_ms integer) returns bigint
    language c volatile as 'MODULE_PATHNAME', '_await_change_wrapper';

create function godwit._sees(shown anyelement) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_sees_wrapper';
create function godwit._is_leaf(relation oid, id text, revision godwit.revision) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_is_leaf_wrapper';
create function godwit._record_id(key anyelement) returns text
    language c stable strict as 'MODULE_PATHNAME', '_record_id_wrapper';
create function godwit._as_row(kind anyelement, body record) returns anyelement
    language c stable as 'MODULE_PATHNAME', '_as_row_wrapper';
create function godwit._first_revision(id text, names text, body anyelement) returns godwit.revision
    language c stable strict as 'MODULE_PATHNAME', '_first_revision_of_wrapper';
create function godwit._rewrite(relation oid) returns boolean
    language c volatile strict as 'MODULE_PATHNAME', '_rewrite_wrapper';
create function godwit._tombstone(id text, previous godwit.revision) returns godwit.revision
    language c immutable strict as 'MODULE_PATHNAME', '_tombstone_wrapper';
create function godwit._parent(relation oid, shown anyelement) returns godwit.revision
    language c volatile strict as 'MODULE_PATHNAME', '_parent_wrapper';
create function godwit._carried(relation oid, extra jsonb, before anyelement, after anyelement)
    returns jsonb
    language c stable strict as 'MODULE_PATHNAME', '_carried_wrapper';
create function godwit._record(relation oid, revision anyelement, revisions boolean) returns jsonb
    language c stable strict as 'MODULE_PATHNAME', '_record_wrapper';

create function godwit._put(relation oid, record jsonb, on_conflict text) returns jsonb
    language c volatile strict as 'MODULE_PATHNAME', '_put_wrapper';
create function godwit._put_many(relation oid, records jsonb, on_conflict text)
    returns table (ord integer, id text, revision text, status text, reason text, winner text)
    language c volatile strict as 'MODULE_PATHNAME', '_put_many_wrapper';
-- As text: who has it as such needs no jsonb in between.
create function godwit._put_revisions(relation oid, records text)
    returns table (ord integer, id text, revision text, status text, reason text)
    language c volatile strict as 'MODULE_PATHNAME', '_put_revisions_text_wrapper';
create function godwit._take_revisions(relation oid, records text) returns text
    language c volatile strict as 'MODULE_PATHNAME', '_take_revisions_wrapper';
create function godwit._get(
    relation oid, id text, revision text, revisions boolean, conflicts boolean) returns jsonb
    language c volatile as 'MODULE_PATHNAME', '_get_wrapper';
create function godwit._records(relation oid, after text, max integer, filter jsonb)
    returns table (id text, record text)
    language c volatile as 'MODULE_PATHNAME', '_records_wrapper';
create function godwit._records_between(relation oid, low text, high text, descending boolean, skip bigint, max integer)
    returns table (id text, record text)
    language c volatile as 'MODULE_PATHNAME', '_records_between_wrapper';
create function godwit._get_many(relation oid, ids text[], revisions text[], ancestry boolean)
    returns table (ord integer, id text, record text, leaf boolean)
    language c volatile as 'MODULE_PATHNAME', '_get_many_wrapper';
create function godwit._keep_attachment_part(relation oid, data bytea) returns void
    language c volatile as 'MODULE_PATHNAME', '_keep_attachment_part_wrapper';
create function godwit._attachment_digests(relation oid, id text) returns text[]
    language c volatile as 'MODULE_PATHNAME', '_attachment_digests_wrapper';
create function godwit._attachment_part(relation oid, digest bytea) returns bytea
    language c stable as 'MODULE_PATHNAME', '_attachment_part_wrapper';
create function godwit._history(relation oid, id text, leaves_only boolean)
    returns table (revision text, previous text, deleted boolean, stub boolean, winner boolean,
                   leaf boolean, seq bigint, at timestamptz, by text, record jsonb)
    language c volatile strict as 'MODULE_PATHNAME', '_history_wrapper';
create function godwit._conflict(relation oid, id text)
    returns table (winner text, conflict text, ancestor text, grade text, attributes text[],
                   at timestamptz, by text)
    language c volatile strict as 'MODULE_PATHNAME', '_conflict_wrapper';
create function godwit._resolve(
    relation oid, id text, keep text, attributes jsonb, leaves text[]) returns jsonb
    language c volatile as 'MODULE_PATHNAME', '_resolve_wrapper';
create function godwit._as_of_sql(row_type oid, moment text) returns text
    language c stable strict as 'MODULE_PATHNAME', '_as_of_sql_wrapper';
create function godwit._was_erased(relation oid, id text, revision godwit.revision) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_was_erased_wrapper';
create function godwit._verify_sql(relation oid) returns text[]
    language c stable strict as 'MODULE_PATHNAME', '_verify_sql_wrapper';
create function godwit._restamp(relation oid, columns text[]) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_restamp_wrapper';
create function godwit._reads(relation oid, column_name text, value text) returns boolean
    language c volatile as 'MODULE_PATHNAME', '_reads_wrapper';
create function godwit._is_hashed(relation oid, revision anyelement) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_is_hashed_wrapper';
create function godwit._is_listed(relation oid, id text) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_is_listed_wrapper';
create function godwit._compact(
    relation oid, after text, keep interval, revisions integer, batch integer)
    returns table (after text, freed bigint)
    language c volatile as 'MODULE_PATHNAME', '_compact_wrapper';
create function godwit._erase(relation oid, id text) returns jsonb
    language c volatile strict as 'MODULE_PATHNAME', '_erase_wrapper';
create function godwit._end_missing(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_end_missing_wrapper';
create function godwit._current_incarnation() returns text
    language c volatile as 'MODULE_PATHNAME', '_current_incarnation_wrapper';
create function godwit._last_sequence() returns bigint
    language c volatile as 'MODULE_PATHNAME', '_last_sequence_wrapper';
create function godwit._check_backfill(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_check_backfill_wrapper';
create function godwit._backfill(relation oid, block bigint, rows integer)
    returns table (next bigint, stamped bigint)
    language c volatile strict as 'MODULE_PATHNAME', '_backfill_wrapper';
create function godwit._begin_job(job text, relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_begin_job_wrapper';
create function godwit._report_job(job text, relation oid, done bigint) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_report_job_wrapper';
create function godwit._end_job(job text, relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_end_job_wrapper';
create function godwit._set_policy(relation oid, policy jsonb) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_set_policy_wrapper';
create function godwit._merge_conflicts(relation oid, max integer) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_merge_conflicts_wrapper';
create function godwit._retry_rejected(relation oid, max integer)
    returns table (number bigint, id text, revision text, status text, reason text)
    language c volatile strict as 'MODULE_PATHNAME', '_retry_rejected_wrapper';
create function godwit._discard_rejected(relation oid, numbers bigint[]) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_discard_rejected_wrapper';
create function godwit._revs_diff(relation oid, revisions text) returns text
    language c volatile strict as 'MODULE_PATHNAME', '_revs_diff_wrapper';
create function godwit._changes_on_wire(since bigint, tables text[], max integer, include text, style text, ids text[],
                                        filter jsonb)
    returns table (seq bigint, change text)
    language c volatile as 'MODULE_PATHNAME', 'godwit_changes_on_wire';
create function godwit._last_change(relation oid) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_last_change_wrapper';
create function godwit._uuid_v7() returns uuid
    language c volatile as 'MODULE_PATHNAME', '_uuid_v7_wrapper';

-- The catalog is written as its owner, for a caller who owns both tables.
create function godwit._remember(relation oid, twin oid, metadata jsonb) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_remember_wrapper';
create function godwit._as_owner(relation oid, statement text) returns boolean
    language c volatile strict as 'MODULE_PATHNAME', '_as_owner_wrapper';
create function godwit._invalidate(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_invalidate_wrapper';
create function godwit._list_conflicts(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_list_conflicts_wrapper';
create function godwit._annotate(relation oid, metadata jsonb) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_annotate_wrapper';
create function godwit._forget(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_forget_wrapper';
