-- What a caller under row-level security asks for by name costs what it asks for, and not what there is.
create role clerk;
create table files (id bigint primary key, v text);
create table sheets (id uuid primary key, v text);
insert into files select g, 'v' from generate_series(1, 5000) g;
insert into sheets select md5(g::text)::uuid, 'v' from generate_series(1, 5000) g;
select godwit.track('files'), godwit.track('sheets');
select min(_seq) as since from files_history \gset
create policy seen on files using (v <> 'hidden');
create policy seen on sheets using (v <> 'hidden');
alter table files enable row level security;
alter table sheets enable row level security;
grant select, insert, update, delete on files, sheets to clerk;
update files set v = 'edited' where id in (7, 9);
update files set v = 'hidden' where id = 9;
analyze files, files_history, sheets, sheets_history;
create function ends(relation regclass, ids text[]) returns jsonb language plpgsql as $$
declare found jsonb; begin
    execute format('select jsonb_agg(jsonb_build_object(''id'', id::text, ''revision'', ''2-x'', ''revisions'', jsonb_build_array(''2-x'', _rev), ''deleted'', true))
                      from %s where id::text = any ($1)', relation) into found using ids;
    return found; end $$;

-- Each record with its leaves: the policy is asked of the revisions of these.
set track_functions = 'all';
begin;
set local role clerk;
select id, revision is null as unnamed, has_left, jsonb_array_length(leaves) as leaves
  from godwit.changes(0, '{files}', style => 'leaves', ids => '{7,9,20,20,none}') order by id;
select id, has_left from godwit.changes(:since, '{files}', style => 'leaves', ids => '{7,9,20}') order by id;
select calls < 200 as is_few from pg_stat_xact_user_functions where schemaname = 'godwit' and funcname = '_sees';
commit;
-- Several tables.
begin;
set local role clerk;
select table_name, id from godwit.changes(0, '{files,sheets}', style => 'leaves', ids => '{7,9,20,c4ca4238-a0b9-2382-0dcc-509a6f75849b}') order by id;
select calls < 200 as is_few from pg_stat_xact_user_functions where schemaname = 'godwit' and funcname = '_sees';
commit;
reset track_functions;

-- Rows that sync deletes are found by the table's key.
begin;
select ends('files', '{10,11}') as files, ends('sheets', '{c4ca4238-a0b9-2382-0dcc-509a6f75849b}') as sheets \gset
select seq_tup_read as before from pg_stat_xact_user_tables where relname = 'files' \gset
set local role clerk;
select status from godwit.put_revisions('files', :'files');
select status from godwit.put_revisions('sheets', :'sheets');
reset role;
select relname, seq_tup_read = :before as as_before from pg_stat_xact_user_tables where relname in ('files', 'sheets') order by 1;
commit;
select count(*) from files where id in (10, 11);
select * from differences('files') union all select * from differences('sheets');
drop table files, files_history, sheets, sheets_history;
drop function ends;
drop role clerk;
