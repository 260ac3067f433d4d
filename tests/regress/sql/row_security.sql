-- Whoever can't see a row can't see its history, its changes or its conflicts, nor write them.
\set SHOW_CONTEXT never
create role north login; create role south login; create role clerk login; create role auditor bypassrls login;
create table patients (id int primary key, region name not null, name text, full_name text generated always as (name || '!') stored);
grant select, insert, update, delete on patients to north, south, clerk, auditor;
select godwit.track('patients');
insert into patients values (1, 'north', 'Amina'), (2, 'south', 'Joseph'), (3, 'north', 'Ruth'), (4, 'south', 'Esi'), (5, 'north', 'Kofi');
alter table patients enable row level security;
create policy region on patients to north, south using (region = current_user);
-- The clerk registers people and may not look at them.
create policy intake on patients for insert to clerk with check (region in ('north', 'south'));
create policy not_kofi on patients as restrictive to south using (patients.full_name <> 'Kofi!');
select relrowsecurity, relforcerowsecurity from pg_class where oid = 'patients_history'::regclass;
-- What each of them has of it.
create function sees() returns table (what text, ids text) language sql as $$
    select 'table', string_agg(id || region, ' ' order by id) from patients
    union all select 'twin', string_agg(_id || '/' || godwit.generation(_rev) || coalesce(region, '-'), ' ' order by _id, _rev) from patients_history
    union all select 'changes', string_agg(id || '/' || godwit.generation(revision::godwit.revision), ' ' order by id, seq) from godwit.changes(tables => '{patients}', include => 'records')
    union all select 'records', string_agg(r ->> 'id', ' ') from godwit.records('patients') r
    union all select 'got', string_agg(id, ' ') from (values ('1'), ('2'), ('3'), ('4'), ('5')) v(id) where godwit.get('patients', id) is not null
    union all select 'history', string_agg(id || '/' || h.revision::godwit.revision::text, ' ') from (values ('1'), ('2'), ('3'), ('4'), ('5')) v(id), godwit.history('patients', id) h where h.leaf and h.deleted
    union all select 'conflicts', string_agg(id, ' ') from godwit.conflicts where relation = 'patients'::regclass
    union all select 'missing', godwit.revs_diff('patients', (select jsonb_object_agg(id, jsonb_build_array('1-none')) from (values ('1'), ('2')) v(id)))::text
$$;
set role north; select * from sees(); reset role;
set role south; select * from sees(); reset role;
set role clerk; select * from sees() where what in ('table', 'twin', 'changes'); reset role;
set role auditor; select * from sees() where what in ('twin', 'changes'); reset role;
-- A row that moves takes its past with it out of sight; the new owner doesn't read what it said before.
update patients set region = 'south', name = 'Ruth B.' where id = 3;
set role north; select count(*) from patients_history where _id = '3'; select count(*) from godwit.changes(tables => '{patients}') where id = '3'; reset role;
set role south;
select godwit.generation(_rev), name from patients_history where _id = '3';
select revision, winner, leaf from (select godwit.generation(revision::godwit.revision) as revision, winner, leaf from godwit.history('patients', '3')) h;
select jsonb_array_length(godwit.get('patients', '3', revisions => true) -> 'revisions') as line;
select godwit.get('patients', '3', h.revision) is null from (values ((select revision from godwit.leaves('patients', '1')))) h(revision);
reset role;
-- A delete is heard of by those who saw the row last, and by nobody else.
delete from patients where id in (1, 4);
set role north; select * from sees() where what in ('twin', 'changes', 'history'); reset role;
set role south; select string_agg(id, ' ' order by id) from godwit.changes(tables => '{patients}') where deleted; reset role;
-- Writing. What the policies refuse is forbidden, whether it would have won or lost, and isn't kept.
create function sent(id int, revisions text, attributes jsonb, deleted boolean default false) returns jsonb language sql as $$
    select jsonb_build_array(jsonb_build_object('id', id::text, 'revision', split_part(revisions, ' ', 1),
        'revisions', to_jsonb(string_to_array(revisions, ' ')), 'deleted', deleted,
        'attributes', case when deleted then '{}' else jsonb_build_object('id', jsonb_build_object('int', id::text)) || attributes end))
$$;
set role north;
select status, reason from godwit.put_revisions('patients',
    sent(5, '9-a', '{"region": {"string": "north"}, "name": {"string": "wins"}}') ||
    sent(5, '1-0', '{"region": {"string": "north"}, "name": {"string": "loses"}}') ||
    sent(5, '1-1', '{"region": {"string": "south"}, "name": {"string": "loses, elsewhere"}}') ||
    sent(5, '9-b', '{"region": {"string": "south"}, "name": {"string": "wins, elsewhere"}}') ||
    sent(2, '1-0', '{"region": {"string": "north"}, "name": {"string": "beside one not seen"}}') ||
    sent(2, '9-z', '{}', true) ||
    sent(6, '1-a', '{"region": {"string": "north"}}') ||
    sent(7, '1-a', '{"region": {"string": "south"}}'));
select string_agg(id || name, ' ' order by id) from patients;
select conflict, grade from godwit.conflicts where relation = 'patients'::regclass;
select godwit.put('patients', '{"id": "2", "attributes": {"region": {"string": "north"}}}');
select godwit.put('patients', '{"id": "2", "revision": "1-x", "attributes": {}}', 'branch');
select godwit.put('patients', '{"id": "2", "revision": "1-x", "deleted": true}');
select godwit.put('patients', '{"id": "8", "attributes": {"region": {"string": "south"}}}');
select godwit.put('patients', '{"id": "5", "revision": "9-a", "attributes": {"region": {"string": "south"}}}');
select godwit.put('patients', '{"id": "5", "revision": "9-a", "attributes": {"region": {"string": "south"}}}', 'branch');
select godwit.put('patients', '{"id": "5", "revision": "9-a", "attributes": {"name": {"string": "put"}}}') ->> 'id';
select godwit.resolve('patients', '2');
select godwit.resolve('patients', '5') ->> 'id';
select count(*) from godwit.conflicts where relation = 'patients'::regclass;
reset role;
select count(*) from godwit.rejected where relation = 'patients'::regclass;
-- Who may add and not look: plain SQL works, and so does a new record by sync.
set role clerk;
insert into patients values (10, 'south', 'Yaa');
select status from godwit.put_revisions('patients', sent(11, '1-a', '{"region": {"string": "north"}}'));
select status from godwit.put_revisions('patients', sent(12, '1-a', '{"region": {"string": "east"}}'));
select count(*) from patients_history;
reset role;
select string_agg(id::text, ' ' order by id) from patients where id >= 10;
-- The owner is bound where the table says so, and the switch is followed.
create role keeper; alter table patients owner to keeper; grant create on schema public to keeper;
set role keeper; select count(*) > 0 as sees from patients_history; reset role;
alter table patients force row level security;
set role keeper; select count(*) from patients_history; select count(*) from godwit.changes(tables => '{patients}'); reset role;
update patients set name = 'Yaa A.' where id = 10;
select * from differences('patients');
alter table patients no force row level security, disable row level security;
set role clerk; select count(*) > 0 as sees from patients_history; reset role;
-- Who has it on the twin by hand can't call the function for rows of others' making.
select godwit._sees(row(1));
select godwit._sees(p) from patients p limit 1;
drop table patients cascade; drop table patients_history;
drop function sees, sent;
drop owned by keeper;
drop role north, south, clerk, auditor, keeper;
-- Whoever is before a table's first change may hold its own write, and is told when that has left its view.
select godwit.last_sequence() as place \gset
create role amina;
create table owned (id text primary key, owner text);
select godwit.track('owned');
alter table owned enable row level security;
create policy own on owned using (owner = current_user) with check (true);
grant select, insert, update, delete on owned to amina;
grant select on owned_history to amina;
set role amina;
select status from godwit.put_revisions('owned', '[{"id": "r", "revision": "1-aa", "attributes": {"id": {"string": "r"}, "owner": {"string": "amina"}}}]');
reset role;
update owned set owner = 'bea';
set role amina;
select id, has_left from godwit.changes(:place, '{owned}');
reset role;
drop table owned cascade;
drop table owned_history;
drop role amina;
