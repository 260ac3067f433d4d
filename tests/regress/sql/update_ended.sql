-- An UPDATE makes a revision that a peer has made and ended, and whose line came cut short, so that nobody knew it for an edit of what
-- the row shows. The row, which came later, goes on from the tombstone. It is written without SQL, where the revision is known by name
-- only, or with its body; by SQL, as what the record has beside its columns is carried on; and by SQL, as the history has a trigger.
\set SHOW_CONTEXT never
create table edits (id text primary key, v text);
select godwit.track('edits');
insert into edits values ('plain', 'old'), ('body', 'old'), ('slow', 'old');
select status from godwit.put_revisions('edits', '[{"id": "more", "revision": "1-x", "revisions": ["1-x"],
    "attributes": {"id": {"string": "more"}, "v": {"string": "old"}, "beside": {"string": "kept"}}}]');
-- What the edits make is looked at, and taken back.
create function ended(wanted text) returns text language plpgsql as $$
declare made text;
begin
    begin
        update edits set v = 'new' where id = wanted returning _rev into made;
        raise exception 'taken back';
    exception when raise_exception then null;
    end;
    if wanted = 'body' then
        perform godwit.put_revisions('edits', jsonb_build_array(jsonb_build_object('id', wanted, 'revision', made,
            'revisions', jsonb_build_array(made), 'attributes', '{"id": {"string": "body"}, "v": {"string": "new"}}'::jsonb)));
    end if;
    return (select status from godwit.put_revisions('edits', jsonb_build_array(jsonb_build_object('id', wanted,
        'revision', '3-z', 'revisions', jsonb_build_array('3-z', made), 'deleted', true, 'attributes', '{}'::jsonb))));
end $$;
select id, ended(id) from unnest(array['plain', 'body', 'more', 'slow']) id;
select id, v, godwit.generation(_rev) from edits order by id;
update edits set v = 'new' where id in ('plain', 'body');
update edits set v = 'new' where id = 'more';
create function nothing() returns trigger language plpgsql as 'begin return null; end';
create trigger slow after insert on edits_history for each row execute function nothing();
update edits set v = 'new' where id = 'slow';
select p.id, p.v, godwit.generation(p._rev), h._prev, h._extra #>> '{beside,string}' as beside
  from edits p join edits_history h on h._id = p.id and h._rev = p._rev order by id;
select id, conflict from godwit.conflicts where table_name = 'edits';
select * from differences('edits');
select * from godwit.verify('edits');
drop table edits, edits_history;
drop function ended(text), nothing();
