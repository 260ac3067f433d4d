-- Checkpoints: how far peers have read this database's change stream, and written to it.

create table godwit.peers (
    peer text primary key check (pg_catalog.octet_length(peer) between 1 and 256 and peer !~ '[[:cntrl:]]'),
    -- A sequence of this database: up to there the peer has read.
    pulled bigint check (pulled between 0 and 9007199254740991),
    -- A sequence of the peer's own: up to there it has brought here what it has.
    pushed bigint check (pushed between 0 and 9007199254740991),
    -- Of which database, as that one was, the sequences are: see godwit.current_incarnation.
    incarnation text check (pg_catalog.octet_length(incarnation) <= 256),
    software text check (pg_catalog.octet_length(software) <= 256),
    owner text not null default current_user,
    first_seen timestamptz not null default pg_catalog.clock_timestamp(),
    last_seen timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table godwit.peers is 'Who syncs with this database, and how far they are; written by godwit.put_peer.';
select pg_catalog.pg_extension_config_dump('godwit.peers', '');

alter table godwit.peers enable row level security;
create policy own on godwit.peers using (owner = current_user) with check (owner = current_user);
-- Who has nothing to sync leaves no peers behind.
create policy syncing on godwit.peers as restrictive for insert with check (exists (
    select from godwit.tracked t
     where pg_catalog.has_table_privilege(t.twin, 'select') or pg_catalog.has_table_privilege(t.relation, 'insert')));
create policy monitor on godwit.peers for select using (
    pg_catalog.pg_has_role('pg_monitor', 'usage') or pg_catalog.pg_has_role(
        (select c.relowner from pg_catalog.pg_class c where c.oid = 'godwit.peers'::pg_catalog.regclass), 'usage'));
create policy tidy on godwit.peers for delete using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = 'godwit.peers'::pg_catalog.regclass), 'usage'));
grant select, insert, update, delete on godwit.peers to public;

create function godwit.put_peer(
    peer text,
    entry jsonb
) returns void
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    fault text;
begin
    if put_peer.peer is null or octet_length(put_peer.peer) not between 1 and 256 or put_peer.peer ~ '[[:cntrl:]]' then
        raise exception 'a peer''s name has 1 to 256 bytes and no control characters'
            using errcode = 'invalid_parameter_value';
    elsif jsonb_typeof(put_peer.entry) is distinct from 'object' then
        raise exception 'what is kept of a peer is a JSON object' using errcode = 'invalid_parameter_value';
    end if;
    select case when m.key in ('pulled', 'pushed') then format('%s is a sequence: an integer from 0 to 9007199254740991', m.key)
                when m.key in ('incarnation', 'software') then format('%s is a string of at most 256 bytes', m.key)
                else format('nothing is kept of a peer as %s', quote_ident(left(m.key, 80))) end into fault
      from jsonb_each(put_peer.entry) m
     where not case
               when m.key in ('pulled', 'pushed', 'incarnation', 'software') and m.value = 'null' then true
               when m.key in ('pulled', 'pushed') and jsonb_typeof(m.value) = 'number'
                   then (m.value #>> '{}')::numeric between 0 and 9007199254740991 and (m.value #>> '{}')::numeric % 1 = 0
               when m.key in ('incarnation', 'software') and jsonb_typeof(m.value) = 'string'
                   then octet_length(m.value #>> '{}') <= 256
               else false end
     limit 1;
    if fault is not null then
        raise exception '%', fault using errcode = 'invalid_parameter_value';
    end if;
    insert into godwit.peers as p (peer, pulled, pushed, incarnation, software)
    values (put_peer.peer, (put_peer.entry ->> 'pulled')::numeric, (put_peer.entry ->> 'pushed')::numeric,
            put_peer.entry ->> 'incarnation', put_peer.entry ->> 'software')
        on conflict (peer) do update
       set pulled = case when put_peer.entry ? 'pulled' then excluded.pulled else p.pulled end,
           pushed = case when put_peer.entry ? 'pushed' then excluded.pushed else p.pushed end,
           incarnation = case when put_peer.entry ? 'incarnation' then excluded.incarnation else p.incarnation end,
           software = case when put_peer.entry ? 'software' then excluded.software else p.software end,
           last_seen = excluded.last_seen;
end
$$;
comment on function godwit.put_peer is
    'Keeps what a peer says of itself: pulled, pushed, incarnation, software; what it leaves out stays as it was.';

create function godwit.forget_peer(peer text) returns boolean
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        with gone as (delete from godwit.peers p where p.peer = forget_peer.peer returning p.peer)
        select exists (select from gone)
    $$;
comment on function godwit.forget_peer is 'Drops what is kept of a peer that won''t come back; false if there is none.';

create function godwit.peers()
    returns table (peer text, pulled bigint, pushed bigint, behind bigint, incarnation text, software text,
                   owner text, first_seen timestamptz, last_seen timestamptz)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        select p.peer, p.pulled, p.pushed, greatest(h.horizon - p.pulled, 0), p.incarnation, p.software,
               p.owner, p.first_seen, p.last_seen
          from godwit.peers p cross join (select godwit.last_sequence() as horizon) h
         order by p.peer collate "C"
    $$;
comment on function godwit.peers is
    'The caller''s own peers, all for operators: how far each is, and how many sequences behind.';
