-- What every other test ends with: the table compared with one recomputed from its history.
-- The election is written out here once more, apart from the extension's own. So is what godwit.unordered lists: what looks
-- like a line by its names, and is none.
create function differences(relation regclass)
returns table (id text, shown text, elected text)
language plpgsql as $$
declare
    twin regclass;
    id_sql text;
begin
    select t.twin into twin from godwit.tracked t where t.relation = differences.relation;
    id_sql := godwit._id_expression(relation, 't');
    return query execute format(
        'with leaves as (
             select h._id, h._rev, h._deleted,
                    row_number() over (partition by h._id
                        order by h._deleted, split_part(h._rev::text, ''-'', 1)::bigint desc,
                                 substr(h._rev::text, strpos(h._rev::text, ''-'') + 1) collate "C" desc) as place
               from %1$s h
              where not h._stub
                and not exists (select from %1$s c where c._id = h._id and c._prev::text = h._rev::text)),
         winners as (select * from leaves where place = 1 and not _deleted)
         select coalesce(%3$s, w._id), t._rev::text, w._rev::text
           from winners w full join %2$s t on %3$s = w._id and t._rev::text = w._rev::text
          where t._rev is null or w._rev is null
         union all
         select l._id, ''a conflict that is not listed'', null from leaves l
          where not l._deleted and not exists (
                select from godwit.conflicted c where c.relation = %2$L::regclass and c.record_id = l._id)
          group by l._id having count(*) > 1
         union all
         select l._id, ''no line, and not listed'', null from (
                select h._id, h._prev::text as previous, h._stub, h._seq, lag(h._rev::text) over below as lower,
                       max(h._seq) filter (where not h._stub) over (below rows between unbounded preceding and 1 preceding) as before
                  from %1$s h where h._id in (
                       select s._id from %1$s s group by s._id
                       having count(distinct godwit.generation(s._rev)) = count(*) and max(godwit.generation(s._rev)) = count(*))
                window below as (partition by h._id order by h._rev)) l
          where (l.previous is distinct from l.lower or (not l._stub and l._seq < l.before)) and not exists (
                select from godwit.unordered u where u.relation = %2$L::regclass and u.record_id = l._id)', twin, relation, id_sql);
end
$$;

-- And its bodies with the columns of the winner's row, but for what only _extra can say of a revision.
create function body_differences(relation regclass) returns bigint
language plpgsql as $$
declare
    twin regclass;
    id_sql text;
    same text;
    n bigint;
begin
    select t.twin into twin from godwit.tracked t where t.relation = body_differences.relation;
    id_sql := godwit._id_expression(relation, 't');
    select coalesce(string_agg(format('(coalesce(h._extra ? %1$L, false) or t.%1$I::text is not distinct from h.%1$I::text)',
                           a.attname), ' and '), 'true')
      into same
      from pg_attribute a
     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
       and a.attgenerated = '' and a.attname not in ('_rev', '_id');
    execute format('select count(*) from %s t join %s h on h._id = %s and h._rev::text = t._rev::text where not (%s)',
                   relation, twin, id_sql, same) into n;
    return n;
end
$$;
