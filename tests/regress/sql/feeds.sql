-- What a reader may ask the change stream for, and what leaves its view; puts in bulk.
\set VERBOSITY terse
create table shops (id text primary key, region text, size int, opened date, note json);
select from godwit.track('shops');
insert into shops values ('a', 'north', 1, '2026-01-01'), ('b', 'south', 2, '2026-02-01'), ('c', 'north', 30, null);
update shops set region = 'south' where id = 'a';
update shops set size = 31 where id = 'c';
delete from shops where id = 'b';
select from godwit.put_revisions('shops', '[
    {"id": "c", "revision": "2-0a", "revisions": ["2-0a", "1-0b"], "attributes": {"region": {"string": "north"}}}]');
create function seen(filter jsonb default null, style text default 'revisions', include text default 'none', ids text[] default null)
    returns table (id text, generation bigint, deleted boolean, has_left boolean, record text, leaves text)
    language sql as $$
    select c.id, godwit.generation(c.revision::godwit.revision), c.deleted, c.has_left,
           concat_ws(' ', c.record #>> '{attributes,region,string}', c.record #>> '{attributes,size,int}',
                     jsonb_array_length(c.record -> 'revisions')),
           (select string_agg(split_part(l ->> 'revision', '-', 1) || coalesce(' ' || (l #>> '{attributes,region,string}'), '')
                              || coalesce(' ' || jsonb_array_length(l -> 'revisions'), ''), ', ')
              from jsonb_array_elements(c.leaves) l)
      from godwit.changes(tables => '{shops}', style => style, include => include, filter => filter, ids => ids) c order by c.seq $$;
select * from seen();
select * from seen(include => 'revision');
select * from seen(include => 'records');
select * from seen(include => 'record');
select * from seen(style => 'leaves');
select * from seen(style => 'leaves', include => 'revision');
select * from seen(ids => '{b,zzz}');
select * from seen(ids => '{}');
-- A filter shows what matches, and what did once: it is gone, or has left.
select * from seen('[{"column": "region", "op": "eq", "value": "north"}]', include => 'record');
select * from seen('[{"column": "size", "op": "gte", "value": "2"}, {"column": "size", "op": "lt", "value": "31"}]', style => 'leaves', include => 'record');
select id from seen('[{"column": "size", "op": "gt", "value": "9"}]') group by id;
select id from seen('[{"column": "opened", "op": "null"}]') group by id;
select id from seen('[{"column": "opened", "op": "notnull"}, {"column": "opened", "op": "lte", "value": "2026-01-31"}]') group by id;
select id from seen('[{"column": "id", "op": "in", "value": ["b", "c", "x''y"]}, {"column": "region", "op": "neq", "value": "south"}]') group by id;
select r #>> '{id}' from godwit.records('shops', filter => '[{"column": "region", "op": "eq", "value": "south"}]') r;
select count(*) from seen('[]');
select count(*) from seen('{"column": "region"}');
select count(*) from seen('[{"column": "region", "op": "like", "value": "n"}]');
select count(*) from seen('[{"column": "region", "op": "eq"}]');
select count(*) from seen('[{"column": "region", "op": "in", "value": []}]');
select count(*) from seen('[{"column": "region", "op": "null", "value": "x"}]');
select count(*) from seen('[{"column": "nope", "op": "eq", "value": "x"}]');
select count(*) from seen('[{"column": "note", "op": "eq", "value": "{}"}]');
select count(*) from seen('[{"column": "size", "op": "eq", "value": "many"}]');
select count(*) from seen(style => 'twigs');
-- Several tables: bodies of the page's changes only, in order.
create table stalls (id int primary key);
select from godwit.track('stalls');
insert into stalls values (1), (2);
insert into shops values ('d', 'east', 4);
insert into stalls values (3);
select table_name, id, record is not null as has_body, next = max(seq) over () as is_next
  from godwit.changes(since => (select max(_seq) - 1 from stalls_history where id = 2), tables => '{shops,stalls}', include => 'record', max => 2);
-- What leaves a view is told, as long as the reader had it; what it did meanwhile is kept for the owner.
create role agent_north;
grant select, insert, update, delete on shops, shops_history to agent_north;
alter table shops enable row level security;
create policy regions on shops to agent_north using (region = 'north') with check (region = 'north');
update shops set region = 'north' where id in ('a', 'd');
select godwit.last_sequence() as here \gset
select _rev as held from shops where id = 'd' \gset
update shops set region = 'west' where id in ('c', 'd');
update shops set size = 7 where id = 'a';
insert into shops values ('e', 'west', 1);
set role agent_north;
select id, revision is null as unnamed, winner is null as no_winner, record is null as bodiless, has_left
  from godwit.changes(since => :here, tables => '{shops}', include => 'record') order by seq;
select id, has_left from godwit.changes(since => :here, tables => '{shops}', ids => '{d,e}');
select id, has_left, next = seq as is_next from godwit.changes(since => :here, tables => '{shops}', max => 1) order by seq;
select count(*) from godwit.changes(tables => '{shops}') where has_left;
select status from godwit.put_revisions('shops', jsonb_build_array(jsonb_build_object('id', 'd', 'revision', '9-mine',
    'revisions', jsonb_build_array('9-mine', '8-x', '7-x', '6-x', '5-x', '4-x', '3-x', :'held'),
    'attributes', '{"region": {"string": "north"}}'::jsonb)));
select status from godwit.put_revisions('shops', '[{"id": "e", "revision": "5-mine", "attributes": {"region": {"string": "north"}}}]');
reset role;
select record_id, revision, by from godwit.rejected where relation = 'shops'::regclass;
select region from shops where id = 'd';
-- Puts in bulk: each for itself, and the same again changes nothing.
select ord, id, split_part(revision, '-', 1) as generation, status, reason, winner is not null as winner
  from godwit.put_many('stalls', '[{"id": "4", "attributes": {}}, {"id": "4", "attributes": {}}, {"id": "x", "attributes": {}},
    {"id": "5", "revision": "4-nope", "attributes": {}}, {"id": "6", "deleted": true}, {"id": 7}, 8, {"id": "9", "attributes": {"n": {"int": "1"}}},
    {"id": "9", "attributes": {"n": {"int": "2"}}}]');
select status from godwit.put_many('stalls', '[{"id": "4", "attributes": {}}, {"id": "9", "attributes": {"n": {"int": "1"}}}]');
select status from godwit.put_many('stalls', '[{"id": "9", "attributes": {"n": {"int": "3"}}}]', 'branch');
select status from godwit.put_many('stalls', '{}');
select status from godwit.put_many('stalls', '[]', 'win');
set role agent_north;
select ord, status from godwit.put_many('shops', '[{"id": "a", "attributes": {"region": {"string": "west"}}},
    {"id": "z", "attributes": {"region": {"string": "west"}}}, {"id": "y", "attributes": {"region": {"string": "north"}}}]', 'branch');
select ord, status from godwit.put_many('stalls', '[{"id": "1", "attributes": {}}]');
reset role;
select * from differences('shops') union all select * from differences('stalls');
drop table shops, shops_history, stalls, stalls_history;
drop function seen;
drop role agent_north;
