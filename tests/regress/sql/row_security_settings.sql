-- How a session reads constants is its own affair: what policies say of histories is read as Postgres keeps it.
\set VERBOSITY terse
set client_min_messages = warning;
create role setter;
create table notes (id text primary key, v text, tags text[], fee money);
select from godwit.track('notes');
insert into notes values ('1', 'pubXsecret', '{a}', '5'), ('2', 'pub_y', '{a,NULL}', '5'), ('3', 'pub_gone', '{a}', '9000'), ('4', 'pubXgone', '{a}', '5'), ('8', 'pub_8', '{a}', '5');
update notes set v = 'pub_y' where id = '1';
delete from notes where id in ('3', '4', '8');
alter table notes enable row level security;
create policy p on notes using (v like 'pub\_%' and fee < '500.50' and not (v = any ('{none,NULL}'::text[])) is true);
grant select, insert, update, delete on notes to setter;
prepare seen as select string_agg(_id || ' ' || coalesce(v, '-'), ', ' order by _id, _seq) as twin from notes_history;
prepare told as select string_agg(c.id, ', ' order by c.seq) as changes from godwit.changes(tables => '{notes}') c;
prepare sent as select id, status from godwit.put_revisions('notes', '[{"id": "5", "revision": "1-a", "attributes": {"id": {"string": "5"}, "v": {"string": "pubZ"}}},
    {"id": "6", "revision": "1-a", "attributes": {"id": {"string": "6"}, "v": {"string": "pub_z"}, "fee": {"string": "$1.00"}, "tags": {"list": [{"string": "a"}, {"null": true}]}}}]');
set role setter;
execute seen; execute told;
set standard_conforming_strings = off;
execute seen; execute told; execute sent;
reset standard_conforming_strings;
set array_nulls = off;
execute seen; execute told;
reset role;
select id, status from godwit.put_revisions('notes', '[{"id": "7", "revision": "1-a", "attributes": {"id": {"string": "7"}, "tags": {"list": [{"string": "a"}, {"null": true}]}}}]');
select id, tags, tags[2] is null as is_null from notes where id in ('6', '7');
reset array_nulls;
select * from godwit.verify('notes');
-- What a policy takes for a name is a value of somebody's.
create policy named on notes as restrictive using (pg_has_role(current_user, case when id = '8' then v else 'setter' end, 'member'));
set role setter;
execute seen; execute told;
reset role;
drop policy named on notes;
-- Or for a table: then it may be the policy that is wrong, which is said without the value.
create policy named on notes as restrictive using (case when id = '8' then v::regclass is not null else true end);
set role setter;
execute told;
reset role;
deallocate seen; deallocate told; deallocate sent;
drop table notes, notes_history;
drop role setter;
