-- Where a batch's records and rows are read and made without SQL: every form of jsonb arrives as it was sent, and what
-- a revision doesn't say is the column's default, or refused by its domain.
create table sender (id text primary key, doc jsonb, list text[], said boolean, amount numeric(6, 2),
    at timestamptz, coarse timestamptz(0), wall timestamp, day date);
select godwit.track('sender');
insert into sender values
    ('empty', '{}', '{}', null, null, null),
    ('small', '[]', '{one}', false, 1.5, '2026-01-02 03:04:05+00'),
    ('quoted', '"a \"b\" \\ ü"', array['a,b', '{}', '', null], true, -1, null),
    ('deep', '{"a": [{"b": [[], {}, [1, null, true, false, "x"]]}], "": ""}', '{{a,b},{c,d}}', true, 0, null);
insert into sender select 'wide', jsonb_object_agg('name' || n, array[repeat('x', n), n::text]), array_agg('item ' || n), true, 7
  from generate_series(1, 100) n;
insert into sender (id, at, coarse, wall, day) select 'time ' || t, t::timestamptz, t::timestamptz, t::timestamp, t::date
  from unnest(array['2024-02-29 23:59:59.999999', '1969-12-31 00:00:00.000001', '0001-01-01', '9999-12-31 12:00', '1582-10-10',
                    '10000-01-01', '0044-03-15 BC', 'infinity', '-infinity']) t;
create table receiver (like sender including all);
alter table receiver drop column _rev;
select godwit.track('receiver');
select status, count(*) from godwit.put_revisions('receiver', (
    select jsonb_agg(godwit.get('sender', id) - 'table') from sender)) group by 1;
select id from sender s full join receiver r using (id)
 where row(s.*) is distinct from row(r.*) or godwit.get('sender', id) - 'table' <> godwit.get('receiver', id) - 'table';
-- One that can't be read leaves the others alone.
select ord, id, revision, status, reason from godwit.put_revisions('receiver', '[
    {"id": "n1", "revision": "1-a", "attributes": {"said": {"bool": "true"}}},
    {"id": "n2", "revision": "1-a", "attributes": {"said": 7}},
    7,
    {"id": "n3", "revision": "1-a", "deleted": 1e3}]');
select status, reason from godwit.put_revisions('receiver', '[
    {"id": "d1", "revision": "1-a", "attributes": {"day": {"date": "2023-02-29"}}},
    {"id": "d2", "revision": "1-a", "attributes": {"wall": {"timestamp": "2023-02-28T24:00:00.000000"}}},
    {"id": "d3", "revision": "1-a", "attributes": {"coarse": {"timestamp": "2023-02-28T10:00:00.600000Z"}}},
    {"id": "d4", "revision": "1-a", "attributes": {"day": {"timestamp": "2023-02-28T10:00:00.600000"}}}]');
select id, at, coarse, wall, day from receiver where id like 'd%' order by id;
select * from godwit.put_revisions('receiver', '{}');
select * from godwit.put_revisions('receiver', '"text"');
select * from godwit.put_revisions('receiver', '[]');
select * from godwit.put_revisions('receiver', null);

create domain said as text not null;
create table domained (a int, b text, owner said, state text default 'open', primary key (a, b));
select godwit.track('domained');
create function sent(id text, owner jsonb) returns jsonb language sql as $$
    select jsonb_build_array(jsonb_build_object('id', id, 'revision', '1-' || md5(id), 'attributes',
        jsonb_build_object('a', jsonb_build_object('int', (id::jsonb) ->> 0)) || owner)) $$;
select status, reason from godwit.put_revisions('domained', sent('["1","x"]', '{"owner": {"string": "me"}}'));
select status, reason from godwit.put_revisions('domained', sent('["2","x"]', '{}'));
select status, reason from godwit.put_revisions('domained', sent('["3","x"]', '{"owner": {"null": true}}'));
select a, b, owner, state from domained;
select * from differences('domained');
drop table domained, domained_history, sender, sender_history, receiver, receiver_history;
drop function sent;
drop domain said;
