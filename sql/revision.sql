-- The type godwit.revision: `N-hash`. Its stored form sorts by bytes as revisions do, so that
-- memcmp compares and Postgres's own functions hash it.

create type godwit.revision;

create function godwit._revision_in(cstring) returns godwit.revision
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_revision_in_wrapper';
create function godwit._revision_out(godwit.revision) returns cstring
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_revision_out_wrapper';
create function godwit._revision_recv(internal) returns godwit.revision
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_revision_recv_wrapper';
create function godwit._revision_send(godwit.revision) returns bytea
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_revision_send_wrapper';

create type godwit.revision (
    input = godwit._revision_in,
    output = godwit._revision_out,
    receive = godwit._revision_recv,
    send = godwit._revision_send,
    internallength = variable,
    alignment = int4,
    storage = extended,
    category = 'S'
);

comment on type godwit.revision is
    'One version of a record: generation, hyphen, hash; sorts by generation, then by the hash''s bytes.';

create function godwit._revision_text(godwit.revision) returns text
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_revision_text_wrapper';
create function godwit._revision_of_text(text) returns godwit.revision
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_revision_of_text_wrapper';

-- Implicit, so that `where _rev = $1` works in an app that knows nothing of this schema.
create cast (godwit.revision as text) with function godwit._revision_text(godwit.revision) as implicit;
create cast (text as godwit.revision) with function godwit._revision_of_text(text) as assignment;

create function godwit.generation(revision godwit.revision) returns bigint
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_generation_wrapper';
create function godwit._generation_floor(revision godwit.revision, ahead integer)
    returns godwit.revision
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_generation_floor_wrapper';

create function godwit._revision_eq(godwit.revision, godwit.revision) returns boolean
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_eq';
create function godwit._revision_ne(godwit.revision, godwit.revision) returns boolean
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_ne';
create function godwit._revision_lt(godwit.revision, godwit.revision) returns boolean
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_lt';
create function godwit._revision_le(godwit.revision, godwit.revision) returns boolean
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_le';
create function godwit._revision_gt(godwit.revision, godwit.revision) returns boolean
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_gt';
create function godwit._revision_ge(godwit.revision, godwit.revision) returns boolean
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_ge';
create function godwit._revision_cmp(godwit.revision, godwit.revision) returns integer
    language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'godwit_revision_cmp';
create function godwit._revision_hash(godwit.revision) returns integer
    language internal immutable strict parallel safe as 'hashvarlena';
create function godwit._revision_hash_extended(godwit.revision, bigint) returns bigint
    language internal immutable strict parallel safe as 'hashvarlenaextended';

create operator godwit.= (
    leftarg = godwit.revision, rightarg = godwit.revision, function = godwit._revision_eq,
    commutator = operator(godwit.=), negator = operator(godwit.<>),
    restrict = eqsel, join = eqjoinsel, hashes, merges
);
create operator godwit.<> (
    leftarg = godwit.revision, rightarg = godwit.revision, function = godwit._revision_ne,
    commutator = operator(godwit.<>), negator = operator(godwit.=),
    restrict = neqsel, join = neqjoinsel
);
create operator godwit.< (
    leftarg = godwit.revision, rightarg = godwit.revision, function = godwit._revision_lt,
    commutator = operator(godwit.>), negator = operator(godwit.>=),
    restrict = scalarltsel, join = scalarltjoinsel
);
create operator godwit.<= (
    leftarg = godwit.revision, rightarg = godwit.revision, function = godwit._revision_le,
    commutator = operator(godwit.>=), negator = operator(godwit.>),
    restrict = scalarlesel, join = scalarlejoinsel
);
create operator godwit.> (
    leftarg = godwit.revision, rightarg = godwit.revision, function = godwit._revision_gt,
    commutator = operator(godwit.<), negator = operator(godwit.<=),
    restrict = scalargtsel, join = scalargtjoinsel
);
create operator godwit.>= (
    leftarg = godwit.revision, rightarg = godwit.revision, function = godwit._revision_ge,
    commutator = operator(godwit.<=), negator = operator(godwit.<),
    restrict = scalargesel, join = scalargejoinsel
);

create operator class godwit.revision_ops default for type godwit.revision using btree as
    operator 1 godwit.<, operator 2 godwit.<=, operator 3 godwit.=, operator 4 godwit.>=,
    operator 5 godwit.>, function 1 godwit._revision_cmp(godwit.revision, godwit.revision);
create operator class godwit.revision_hash_ops default for type godwit.revision using hash as
    operator 1 godwit.=,
    function 1 godwit._revision_hash(godwit.revision),
    function 2 godwit._revision_hash_extended(godwit.revision, bigint);

create function godwit._revision_larger(godwit.revision, godwit.revision) returns godwit.revision
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select case when $1 operator(godwit.>) $2 then $1 else $2 end $$;
create function godwit._revision_smaller(godwit.revision, godwit.revision) returns godwit.revision
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select case when $1 operator(godwit.<) $2 then $1 else $2 end $$;
create aggregate godwit.max(godwit.revision) (
    sfunc = godwit._revision_larger, stype = godwit.revision, sortop = operator(godwit.>),
    parallel = safe
);
create aggregate godwit.min(godwit.revision) (
    sfunc = godwit._revision_smaller, stype = godwit.revision, sortop = operator(godwit.<),
    parallel = safe
);

-- An app that has not put this schema into its search path would compare revisions as texts, by
-- way of the cast, and `10-a` would come before `9-f`. So the order is visible from public too.
do $$
declare
    name text;
begin
    if pg_catalog.to_regnamespace('public') is null then
        return;
    end if;
    foreach name in array array['<', '<=', '>', '>='] loop
        execute pg_catalog.format(
            'create operator public.%s (leftarg = godwit.revision, rightarg = godwit.revision, '
            'function = godwit._revision_%s)',
            name,
            (array['lt', 'le', 'gt', 'ge'])[pg_catalog.array_position(array['<', '<=', '>', '>='], name)]
        );
    end loop;
    create aggregate public.max(godwit.revision) (
        sfunc = godwit._revision_larger, stype = godwit.revision, parallel = safe);
    create aggregate public.min(godwit.revision) (
        sfunc = godwit._revision_smaller, stype = godwit.revision, parallel = safe);
end
$$;
