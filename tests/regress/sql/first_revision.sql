-- A type keeps its OID while its columns change: what was known of it before is not taken for it.
create type shaped as (a text);
create function first_of(what text) returns godwit.revision language plpgsql as $$
declare it shaped;
begin
    it := jsonb_populate_record(null::shaped, jsonb_build_object('a', what));
    return godwit._first_revision('x', '["a"]', it);
end $$;
select first_of('7') = godwit._first_revision('x', '["a"]', row('7'::text));
alter type shaped alter attribute a type bigint;
select first_of('7') = godwit._first_revision('x', '["a"]', row(7::bigint));
alter type shaped alter attribute a type text;
select first_of('7') = godwit._first_revision('x', '["a"]', row('7'::text));
drop function first_of(text);
drop type shaped;
