-- Each of a twin's indexes has all the rows that belong into it, whoever made it and however the rows came.
create extension amcheck;
create function unindexed(twin regclass) returns table (index_name regclass, is_complete boolean) language plpgsql as $$
begin
    for index_name in select i.indexrelid from pg_index i where i.indrelid = twin order by i.indexrelid::regclass::text loop
        perform bt_index_check(index_name, true);
        is_complete := true;
        return next;
    end loop;
end $$;
create table notes (id int primary key, body text);
select godwit.track('notes');
create procedure write(first int) language plpgsql as $$
begin
    insert into notes select n, 'note ' || n from generate_series(first, first + 299) n;
    update notes set body = body || '!' where id % 3 = 0;
    delete from notes where id % 5 = 0 and id >= first;
    insert into notes values (first + 4, 'again');
    -- What no column holds, and tombstones beside bodies, in one batch.
    perform godwit.put_revisions('notes', jsonb_agg(jsonb_build_object('id', n::text, 'revision', '1-of' || n,
            'deleted', n % 2 = 0, 'attributes', case when n % 2 = 0 then '{}' else '{"id": {"int": "' || n || '"},
            "body": {"string": "put"}, "unknown": {"string": "kept"}}' end::jsonb)))
       from generate_series(first + 1000, first + 1099) n;
    update notes set body = 'carried' where id between first + 1000 and first + 1009;
    insert into notes values (first + 400, 'taken back');
    begin
        insert into notes select n, 'gone' from generate_series(first + 401, first + 500) n;
        raise exception 'taken back';
    exception when raise_exception then null;
    end;
end $$;
call write(1);
select * from unindexed('notes_history');
select count(*) filter (where _deleted) > 50 as ended, count(*) filter (where _extra is not null) > 50 as with_extra from notes_history;
-- Indexes of the owner's: by a column, by an expression, of some rows.
create index on notes_history (body);
create index on notes_history (lower(body)) where id > 10;
create index on notes_history (_at) where not _deleted;
call write(2001);
select * from unindexed('notes_history');
-- And again without them, in a session that has written with them.
drop index notes_history_lower_idx, notes_history_body_idx, notes_history__at_idx;
call write(4001);
select * from unindexed('notes_history');
-- An index of ours that was made again, or is missing.
begin;
reindex table notes_history;
insert into notes values (9000, 'after');
delete from notes where id = 9000;
commit;
drop index notes_history__id__rev_idx;
call write(6001);
select * from unindexed('notes_history');
select * from differences('notes');
-- A constraint that got past Godwit is kept to.
set session_replication_role = replica;
delete from notes_history where body in (select body from notes_history group by body having count(*) > 1);
alter table notes_history add exclude using btree (body with =);
reset session_replication_role;
insert into notes values (9001, 'once');
insert into notes values (9002, 'once');
-- A DELETE keeps no lock on the list of conflicts: a REINDEX, which locks the table first, would else meet it.
begin;
delete from notes where id = 9001;
select relation::regclass from pg_locks where pid = pg_backend_pid() and relation in
    (select indexrelid from pg_index where indrelid = 'godwit.conflicted'::regclass union select 'godwit.conflicted'::regclass);
rollback;
drop table notes cascade;
drop table notes_history;
drop procedure write;
drop function unindexed;
drop extension amcheck;
