-- Tables made by Godwit: from a column list in SQL and from the wire's JSON.
select godwit.create_table('cases', 'name text not null, household int default 1 check (household > 0)');
\d cases
\d cases_history
insert into cases (_id, name) values ('case-17', 'Amina');
insert into cases (name) values ('Joseph');
select length(_id) as made, name, household from cases order by name desc limit 1;
select * from cases where _id = 'case-17';
select _id, _rev, _prev, _deleted, _stub, name, household, _extra from cases_history where _id = 'case-17';
select * from differences('cases');

select godwit.create_table('{"name": "visits", "metadata": {"owner": "health"},
    "columns": [{"name": "on", "type": "date", "constraints": [{"not_null": {}}]},
                {"name": "weight", "type": "numeric(5,2)", "default": {"decimal": "0.00"}},
                {"name": "code", "type": "text", "constraints": [{"unique": {}}]}]}');
insert into visits (_id, "on", code) values ('v1', '2024-02-29', 'x');
select _id, "on", weight, code from visits;
select godwit.table_def('visits') - 'created_at';
select name, twin, id_columns, metadata from godwit.tables() where name in ('cases', 'visits') order by name;
select godwit.set_metadata('visits', '{"owner": "nutrition", "n": 1.50}');
select godwit.table_def('visits') -> 'metadata';
-- No columns at all: a document table.
select godwit.create_table('documents', '');
select godwit.put('documents', '{"id": "d", "attributes": {"any": {"map": {"thing": {"int": "1"}}}}}') ->> 'revision';
select _id, _extra from documents_history;
select godwit.get('documents', 'd');
-- A name in quotes, a column named like a keyword.
select godwit.create_table('"My Table"', '"select" int, "A ""quoted"" one" text');
insert into "My Table" values ('1', 7, 'x');
update "My Table" set "select" = 8;
select _id, "select", "A ""quoted"" one" from "My Table_history" order by _rev;
select * from differences('"My Table"');

\set SHOW_CONTEXT never
-- Faults.
select godwit.create_table('cases', 'a int');
select godwit.create_table('My Table', 'a int');
select godwit.create_table('a.b.c', 'a int');
select godwit.create_table(repeat('n', 56), 'a int');
select godwit.create_table(repeat('n', 55), 'a int') is not null as fits;
select godwit.create_table('t1', 'a int, _rev text');
select godwit.create_table('t1', '_at timestamptz');
select godwit.create_table('t1', '_id int');
select godwit.create_table('t1', 'a nosuchtype');
select godwit.create_table('[]');
select godwit.create_table('{"name": ""}');
select godwit.create_table('{"name": "t1", "colums": []}');
select godwit.create_table('{"name": "t1", "columns": {}}');
select godwit.create_table('{"name": "t1", "columns": [{"name": "a"}]}');
select godwit.create_table('{"name": "t1", "columns": [{"name": "a", "type": "int); drop table cases; --"}]}');
select godwit.create_table('{"name": "t1", "columns": [{"name": "a", "type": "int", "constraints": [{"check": {}}]}]}');
select godwit.create_table('{"name": "t1", "columns": [{"name": "_seq", "type": "int"}]}');
select godwit.create_table('{"name": "t1", "columns": [{"name": "a", "type": "int", "default": {"string": "x"}}]}');
select godwit.set_metadata('visits', '[]');
select to_regclass('t1') as nothing_left;
