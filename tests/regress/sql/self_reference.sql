-- A batch deletes a row and edits another that refers to it. What the foreign key does about the delete is an edit
-- too, of a row that the batch is about to write: the higher of the two wins, and the conflict is listed.
create table pieces (id text primary key, whole text references pieces on delete set null, name text);
select godwit.track('pieces');
insert into pieces values ('whole', null, 'w');
insert into pieces select 'part' || n, 'whole', 'p' from generate_series(1, 6) n;
-- ids that are sure to be above, and below, whatever the foreign key makes
select status, count(*)
  from godwit.put_revisions('pieces', (
      select jsonb_agg(case when id = 'whole'
          then jsonb_build_object('id', id, 'revision', '2-gone', 'revisions', jsonb_build_array('2-gone', _rev), 'deleted', true)
          else jsonb_build_object('id', id, 'revision', '2-' || token, 'revisions', jsonb_build_array('2-' || token, _rev),
                   'attributes', '{"whole": {"null": true}, "name": {"string": "edited"}}'::jsonb) end)
        from (select *, case when id < 'part4' then '~' else '!' end as token from pieces) p))
 group by status;
select id, whole, name from pieces order by id;
select record_id from godwit.conflicted where relation = 'pieces'::regclass order by record_id;
select * from differences('pieces');
select * from godwit.verify('pieces');
-- A delete ends all leaves of each.
delete from pieces;
select * from differences('pieces');
select count(*) from godwit.verify('pieces');
drop table pieces cascade;
drop table pieces_history;
