-- What a user would write instead of Godwit, each as good as it can be made in an afternoon. None of them hashes,
-- knows its parent, or syncs.
create schema if not exists bench;

-- One row a change, found by record: the form that Postgres's own documentation of triggers shows.
create or replace procedure bench.make_history(relation regclass) language plpgsql as $$
begin
    execute format('create table %s_history (op "char" not null, at timestamptz not null default clock_timestamp(),
        by text not null default current_user, seq bigint generated always as identity, like %1$s)', relation);
    execute format('insert into %s_history (op, %2$s) select ''I'', %2$s from %1$s', relation, bench.columns(relation));
    execute format('alter table %s_history add primary key (id, seq)', relation);
end $$;

create or replace function bench.columns(relation regclass) returns text language sql as $$
    select string_agg(quote_ident(attname), ', ' order by attnum)
      from pg_attribute where attrelid = relation and attnum > 0 and not attisdropped
$$;

-- By the row.
create or replace procedure bench.row_trigger(relation regclass) language plpgsql as $$
begin
    call bench.make_history(relation);
    execute format('create or replace function bench.keep_row() returns trigger language plpgsql as $f$
        begin
            if tg_op = ''DELETE'' then
                insert into %s_history (op, %2$s) values (''D'', old.*);
            elsif tg_op = ''UPDATE'' then
                insert into %1$s_history (op, %2$s) values (''U'', new.*);
            else
                insert into %1$s_history (op, %2$s) values (''I'', new.*);
            end if;
            return null;
        end $f$', relation, bench.columns(relation));
    execute format('create trigger keep after insert or update or delete on %s
        for each row execute function bench.keep_row()', relation);
end $$;

-- By the statement, from its transition tables.
create or replace procedure bench.statement_trigger(relation regclass) language plpgsql as $$
begin
    call bench.make_history(relation);
    execute format('create or replace function bench.keep_statement() returns trigger language plpgsql as $f$
        begin
            if tg_op = ''DELETE'' then
                insert into %s_history (op, %2$s) select ''D'', %2$s from before;
            elsif tg_op = ''UPDATE'' then
                insert into %1$s_history (op, %2$s) select ''U'', %2$s from after;
            else
                insert into %1$s_history (op, %2$s) select ''I'', %2$s from after;
            end if;
            return null;
        end $f$', relation, bench.columns(relation));
    execute format('create trigger keep_insert after insert on %s referencing new table as after
        for each statement execute function bench.keep_statement()', relation);
    execute format('create trigger keep_update after update on %s referencing new table as after
        for each statement execute function bench.keep_statement()', relation);
    execute format('create trigger keep_delete after delete on %s referencing old table as before
        for each statement execute function bench.keep_statement()', relation);
end $$;

-- After supabase/supa_audit's design: one log for all tables, records as jsonb under a uuid made of table and key.
-- Its triggers look up the key's columns for each row; here the column is the trigger's argument, which is faster.
create or replace procedure bench.jsonb_trigger(relation regclass) language plpgsql as $$
begin
    drop table if exists bench.record_version;
    create table bench.record_version (
        id bigserial primary key,
        record_id uuid,
        old_record_id uuid,
        op text not null check (op in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
        ts timestamptz not null default now(),
        table_oid oid not null,
        table_schema name not null,
        table_name name not null,
        record jsonb,
        old_record jsonb,
        check ((op in ('INSERT', 'UPDATE')) = (record is not null)),
        check ((op in ('UPDATE', 'DELETE')) = (old_record is not null))
    );
    create index on bench.record_version (record_id) where record_id is not null;
    create index on bench.record_version (old_record_id) where old_record_id is not null;
    create index on bench.record_version using brin (ts);
    create index on bench.record_version (table_oid);
    execute format('insert into bench.record_version (record_id, op, table_oid, table_schema, table_name, record)
        select bench.record_id(%2$s, t.id::text), ''INSERT'', %2$s, ''public'', ''%1$s'', to_jsonb(t) from %1$s t',
        relation, relation::oid);
    execute format('create trigger keep after insert or update or delete on %s
        for each row execute function bench.keep_jsonb(id)', relation);
end $$;

create or replace function bench.record_id(relation oid, key text) returns uuid language sql immutable as $$
    select md5(relation || ' ' || key)::uuid
$$;

create or replace function bench.keep_jsonb() returns trigger language plpgsql as $$
declare
    record jsonb := to_jsonb(new);
    old_record jsonb := to_jsonb(old);
begin
    insert into bench.record_version
        (record_id, old_record_id, op, table_oid, table_schema, table_name, record, old_record)
    values (bench.record_id(tg_relid, record ->> tg_argv[0]), bench.record_id(tg_relid, old_record ->> tg_argv[0]),
        tg_op, tg_relid, tg_table_schema, tg_table_name, record, old_record);
    return null;
end $$;
