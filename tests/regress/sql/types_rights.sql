-- A type's owner need not be the table's: what a CHECK of his runs, or a cast, is run with the rights of who calls, never
-- with those of who owns a table that has a column of the type.
create role owns_table; create role owns_types; create role writes;
create schema typed;
grant usage on schema typed to public;
grant create on schema typed to owns_types;
grant create on schema public to owns_table;

set role owns_types;
create table typed.ran (by_role name default current_user, what text);
grant insert on typed.ran to public;
create function typed.spy(what text) returns boolean language plpgsql as $$
begin
    insert into typed.ran (what) values (what);
    return what <> 'bad';
end $$;
create domain typed.code as text check (typed.spy(value));
create domain typed.word as text not null check (typed.spy(value));
create type typed.kind as enum ('a', 'b');
create function typed.kind_of(what text) returns typed.kind language plpgsql as $$
begin
    perform typed.spy(what);
    return (enum_range(null::typed.kind))[strpos('ab', what)];
end $$;
create cast (text as typed.kind) with function typed.kind_of(text);
reset role;

create function sent(code text, revision text, line text, attributes jsonb) returns jsonb language sql as $$
    select jsonb_build_array(jsonb_build_object('id', format('["%s","a"]', code), 'revision', revision,
        'revisions', to_jsonb(string_to_array(line, ' ')), 'attributes', attributes)) $$;

set role owns_table;
create table told (code typed.code, kind typed.kind, word typed.word default 'w', words typed.word[],
    primary key (code, kind));
select godwit.track('told');
grant select, insert, update, delete on told to writes;
reset role;
select count(*) from typed.ran where by_role = 'owns_table';
truncate typed.ran;

set role writes;
insert into told (code, kind) values ('sql', 'a');
update told set word = 'v';
select godwit.put('told', '{"id": "[\"p\",\"a\"]", "attributes": {"word": {"string": "w"}}}') ->> 'id' as put;
select godwit.put('told', '{"id": "[\"p\",\"b\"]", "attributes": {}}') ->> 'id' as put;
select godwit.put('told', '{"id": "[\"bad\",\"b\"]", "attributes": {}}') ->> 'id' as put;
select status from godwit.put_many('told', '[{"id": "[\"m\",\"a\"]", "attributes": {"words": {"list": [{"string": "w"}]}}}]');
select status from godwit.put_revisions('told', sent('r', '1-a', '1-a', '{"word": {"string": "one"}}'));
select status from godwit.put_revisions('told', sent('r', '2-a', '2-a 1-a', '{"word": {"string": "two"}}'));
select status from godwit.put_revisions('told', sent('r', '2-b', '2-b 1-a', '{}'));
select status from godwit.put_revisions('told', sent('r', '3-a', '3-a 2-a 1-a', '{"word": {"string": "bad"}}'));
select status from godwit.put_revisions('told', sent('bad', '1-a', '1-a', '{}'));
select godwit.resolve('told', '["r","a"]', '2-b') is not null as resolved;
select count(*) from godwit.retry_rejected('told');
delete from told where code = 'sql';
reset role;
select code, kind, word, words from told order by code collate "C", kind;
-- Whatever ran was run by who called; something did run.
select distinct by_role from typed.ran;
select * from differences('told');

-- A key is compared as its domain's base type, whole: `character` alone would be one character.
create domain typed.three as char(3) check (value <> 'x');
create table padded (a typed.three, b bit(3), primary key (a, b));
select godwit.track('padded');
insert into padded values ('abd', '100');
select status from godwit.put_revisions('padded', '[{"id": "[\"abe\",\"101\"]", "revision": "1-a", "attributes": {}},
    {"id": "[\"abd\",\"100\"]", "revision": "5-a", "attributes": {}}]');
select a, b, godwit.generation(_rev) from padded order by a;

drop table padded, padded_history;
drop domain typed.three;
drop function sent;
drop table told, told_history;
drop schema typed cascade;
revoke create on schema public from owns_table;
drop role owns_table, owns_types, writes;
