-- godwit.revision: reading, order, comparison with text, what is refused.
select r::godwit.revision from unnest(array['1-a', '10-a', '9-f', '9-F', '2-0', '2-00', '100-z']) r
 order by r::godwit.revision;
select '10-a'::godwit.revision > '9-f'::godwit.revision as by_generation,
       '1-b'::godwit.revision > '1-a'::godwit.revision as by_hash,
       max(r::godwit.revision), min(r::godwit.revision)
  from unnest(array['9-f', '10-a', '10-A']) r;
-- An app knows nothing of the schema and compares with text.
create temp table seen (_rev godwit.revision);
insert into seen values ('3-abc'), ('10-abc');
select * from seen where _rev = '3-abc';
select * from seen where _rev > '9-zzz';
prepare by_text(text) as select * from seen where _rev = $1;
execute by_text('10-abc');
select _rev || '!' as text from seen order by _rev;
select godwit.generation(_rev) from seen order by 1;
-- Binary copies carry the text.
select encode(godwit._revision_send('3-abc'), 'escape');
-- Foreign tokens are taken as they are, within bounds.
select '1-any~token_of:others'::godwit.revision;
select ('9007199254740991-' || repeat('x', 128))::godwit.revision is not null as longest;
\set SHOW_CONTEXT never
select ''::godwit.revision;
select 'abc'::godwit.revision;
select '0-abc'::godwit.revision;
select '01-abc'::godwit.revision;
select '9007199254740992-abc'::godwit.revision;
select '1-'::godwit.revision;
select '1-a,b'::godwit.revision;
select '1-a b'::godwit.revision;
select '1-ä'::godwit.revision;
