-- What must hold before anything of Godwit's is made.

-- Nothing here is looked for in a schema where others may put something of the same name.
set local search_path = pg_catalog, pg_temp;

-- A schema that somebody else made first could hold operators and functions that ours would call.
do $$
begin
    if exists (
        select from pg_catalog.pg_namespace n
         where n.nspname = 'godwit' and not pg_catalog.pg_has_role(n.nspowner, 'member')
    ) or exists (
        select from pg_catalog.pg_class c
         where c.relnamespace = 'godwit'::pg_catalog.regnamespace
    ) or exists (
        select from pg_catalog.pg_proc p
         where p.pronamespace = 'godwit'::pg_catalog.regnamespace
    ) then
        raise exception 'schema godwit exists and is not an empty one of yours'
            using errcode = 'duplicate_schema', hint = 'Drop or rename it, then create the extension.';
    end if;
    if pg_catalog.current_setting('server_encoding') <> 'UTF8' then
        raise exception 'godwit needs a database in UTF8, this one is in %',
            pg_catalog.current_setting('server_encoding')
            using errcode = 'feature_not_supported';
    end if;
end
$$;

grant usage on schema godwit to public;
