-- The twin follows ALTER TABLE; a revision stays what was hashed.
\set SHOW_CONTEXT never
create function columns_of(relation regclass) returns text language sql as $$
    select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)
      from pg_attribute where attrelid = relation and attnum > 0 and not attisdropped
       and attname !~ '^_(rev|prev|deleted|seq|at|by|stub|extra)$'
$$;
-- Every revision hashed anew from what is read of it.
create function misread(relation regclass) returns table (id text, revision text, attributes jsonb) language plpgsql as $$
declare id text; h record; begin
    for id in execute format('select distinct _id from %s', (select twin from godwit.tracked t where t.relation = misread.relation)) loop
        for h in select * from godwit.history(relation, id) where not stub and not deleted loop
            if h.revision <> (select r.revision from godwit.put_revisions('mirror', jsonb_build_array(h.record - 'table'
                    || jsonb_build_object('revisions', to_jsonb(array_remove(array[h.revision, h.previous], null))))) r where r.status in ('accepted', 'known'))
               or godwit.get('mirror', id, h.revision) -> 'attributes' <> h.record -> 'attributes' then
                misread.id := id; revision := h.revision; attributes := h.record -> 'attributes'; return next;
            end if;
        end loop;
    end loop;
end $$;
-- A table without columns of its own keeps every attribute as it came.
select godwit.create_table('mirror', '');
create table farms (id int primary key, name text, phone text, size int);
select godwit.track('farms');
insert into farms values (1, 'Kita', '70', 3), (2, 'Segou', '71', 4), (3, 'Mopti', null, null);
update farms set size = 5 where id = 2;
create table said as select f.id, h.revision, h.record -> 'attributes' as attributes from farms f, godwit.history('farms', f.id::text) h;
create function differ() returns table (id int, revision text, was jsonb, now jsonb) language sql as $$
    select s.id, s.revision, s.attributes, godwit.get('farms', s.id::text, s.revision) -> 'attributes' from said s
     where s.attributes is distinct from godwit.get('farms', s.id::text, s.revision) -> 'attributes'
$$;
-- Add.
alter table farms add column region text not null default 'north', add column seen date;
select columns_of('farms_history');
select * from differ();
select id, region from farms order by id;
update farms set size = 6 where id = 1;
select record -> 'attributes' as attributes from godwit.history('farms', '1') order by seq;
-- A put that doesn't name the new column keeps what the row shows; an old client's edit gets the default.
select godwit.put('farms', jsonb_build_object('id', '2', 'revision', _rev, 'attributes', '{"size": {"int": "9"}}'::jsonb)) is not null from farms where id = 2;
select status from farms f, godwit.put_revisions('farms', jsonb_build_array(jsonb_build_object('id', '3', 'revision', '2-zz', 'revisions', jsonb_build_array('2-zz', f._rev),
    'attributes', '{"id": {"int": "3"}, "name": {"string": "Mopti"}, "phone": {"string": "72"}, "size": {"null": true}}'::jsonb))) where f.id = 3;
select id, phone, size, region from farms order by id;
select godwit.get('farms', '3') -> 'attributes' ? 'region' as says_region;
select * from differ();
-- Rename.
alter table farms rename column phone to telephone;
select columns_of('farms'), columns_of('farms_history');
select * from differ();
update farms set telephone = '70 1' where id = 1;
select record -> 'attributes' as attributes from godwit.history('farms', '1') order by seq desc limit 2;
-- Who has not heard of it still edits under the old name, and the table shows it.
select status from farms f, godwit.put_revisions('farms', jsonb_build_array(jsonb_build_object('id', '3', 'revision', '3-zz', 'revisions', jsonb_build_array('3-zz', f._rev),
    'attributes', '{"id": {"int": "3"}, "name": {"string": "Mopti"}, "phone": {"string": "73"}, "size": {"null": true}}'::jsonb))) where f.id = 3;
select id, telephone from farms where id = 3;
select godwit.get('farms', '3') -> 'attributes' as attributes;
update farms set size = 8 where id = 3;
select godwit.get('farms', '3') -> 'attributes' as attributes;
update farms set telephone = '74' where id = 3;
select godwit.get('farms', '3') -> 'attributes' as attributes;
select godwit.put('farms', jsonb_build_object('id', '2', 'revision', _rev, 'attributes', '{"size": {"int": "10"}}'::jsonb)) is not null from farms where id = 2;
select id, telephone, size from farms where id = 2;
-- Change of type.
alter table farms alter column size type text using size::text || ' ha';
select columns_of('farms_history') ~ 'size_until_\d+ integer, .*size text' as kept;
select * from differ();
update farms set size = '11 ha' where id = 2;
select record -> 'attributes' -> 'size' as size from godwit.history('farms', '2') order by seq;
-- An older revision that is shown again is shown through the newer columns.
select godwit.put('farms', jsonb_build_object('id', '1', 'revision', revision, 'attributes', record -> 'attributes' || '{"size": {"int": "2"}}'), 'branch') is not null
  from godwit.history('farms', '1') where previous is null;
select revision as hidden from godwit.leaves('farms', '1') where not winner \gset
select godwit.resolve('farms', '1', keep => :'hidden') is not null;
select * from farms where id = 1;
select godwit.get('farms', '1') -> 'attributes' as attributes;
-- Drop, and a column of the same name again.
alter table farms drop column name;
select columns_of('farms'), columns_of('farms_history') ~ 'name text' as kept;
select * from differ();
update farms set region = 'west' where id = 2;
select godwit.get('farms', '2') -> 'attributes' ? 'name' as says_name;
alter table farms add column name int;
update farms set name = 1 where id = 2;
select * from differ();
select godwit.get('farms', '2') -> 'attributes' -> 'name' as name;
alter table farms drop column seen;
alter table farms add column seen date;
alter table farms rename column region to seen_by;
alter table farms rename column seen_by to region;
select * from differ();
select * from misread('farms');
select * from differences('farms');
select twin_column ~ '_until_' as aside, attribute, until is null as open from godwit.era where relation = 'farms'::regclass order by since, attribute, 1;
-- The key: renamed, and of another type with the same ids.
alter table farms rename column id to number;
alter table farms alter column number type bigint;
select * from differ();
insert into farms (number, size) values (7, '1');
select godwit.get('farms', '7') -> 'attributes' -> 'number' as number;
alter table farms alter column number type numeric(5,1);
alter table farms drop constraint farms_pkey;
alter table farms drop constraint farms_pkey, add primary key (name);
alter table farms drop column number;
select * from differences('farms');
-- Name, schema, owner, grants.
create schema country;
create role farmer;
create role trader;
alter table farms rename to estates;
alter table estates set schema country;
alter table country.estates owner to farmer;
grant usage on schema country to farmer;
grant select on country.estates to trader;
grant usage on schema country to trader;
select t.relation, t.twin, pg_get_userbyid(c.relowner) as owner, has_table_privilege('trader', t.twin, 'select') as reads
  from godwit.tracked t join pg_class c on c.oid = t.twin where t.relation = 'country.estates'::regclass;
revoke select on country.estates from trader;
select has_table_privilege('trader', 'country.estates_history', 'select') as reads;
update country.estates set size = '2' where number = 7;
select id, generation from (select id, godwit.generation(revision::godwit.revision) from godwit.changes(tables => array['country.estates']) order by seq desc limit 1) c(id, generation);
alter schema country rename to land;
update land.estates set size = '3' where number = 7;
select godwit.get('land.estates', '7') ->> 'table' as name;
create table land.taken_history (a int);
alter table land.estates rename to taken;
-- What is refused.
alter table land.estates rename column _rev to rev;
alter table land.estates drop column _rev;
alter table land.estates rename column size to _seq;
alter table land.estates add column _by text;
alter table land.estates set unlogged;
alter table land.estates disable trigger user;
alter table land.estates enable trigger user;
drop trigger "~godwit_stamp" on land.estates;
alter table land.estates_history drop column size;
alter table land.estates_history rename to other;
alter table land.estates_history rename column telephone to tel;
alter table land.estates_history add column more int;
drop table land.estates_history;
create table land.part () inherits (land.estates);
alter table land.estates_history set (fillfactor = 90);
create index on land.estates_history (region);
select * from differences('land.estates');
-- DROP TABLE leaves the history.
drop table land.estates;
select count(*) > 0 as kept from land.estates_history;
select count(*) from godwit.tracked where relation::text ~ 'estates';
drop schema land cascade;
drop role farmer, trader;
drop function columns_of, differ, misread;
drop table said, mirror, mirror_history;
-- What a statement is about is looked up among the tracked tables, and not the other way round, however many there are.
create table first_of_many (id int primary key);
create table second_of_many (id int primary key);
create table third_of_many (id int primary key);
select godwit.track(name) from unnest('{first_of_many, second_of_many, third_of_many}'::regclass[]) name;
begin;
set local track_functions = 'all';
select coalesce(pg_stat_get_xact_function_calls('godwit._self_and_ancestors(oid)'::regprocedure), 0) as calls \gset
create table not_tracked (id int);
alter table not_tracked add column n int;
drop table not_tracked;
select coalesce(pg_stat_get_xact_function_calls('godwit._self_and_ancestors(oid)'::regprocedure), 0) - :calls as calls;
rollback;
drop table first_of_many, second_of_many, third_of_many;
drop table first_of_many_history, second_of_many_history, third_of_many_history;
