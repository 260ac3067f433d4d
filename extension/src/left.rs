//! In charge of what has left a reader's view: a change after which row-level security hides the record from
//! who could see what it said before. A reader is told so, or it would keep the record as it was for ever. What
//! it did meanwhile is kept when it arrives.

use pgrx::pg_sys;

use crate::graft::Arrival;
use crate::policy;
use crate::role;
use crate::shape::Shape;
use crate::spi;

/// Changes that are looked through at a time: their bodies are held in memory.
const CHANGES_AT_ONCE: i64 = 1000;

pub struct Left {
    pub sequence: i64,
    pub id: String,
}

/// The records that left between two sequences, each at its latest such change.
pub fn between(shape: &Shape, since: i64, until: i64, ids: Option<&[String]>) -> Vec<Left> {
    // Who begins has nothing that could leave.
    if since == 0 || !policy::applies(shape) {
        return Vec::new();
    }
    let only = if ids.is_some() { "and c._id = any ($4)" } else { "" };
    let sql = format!(
        "select c._seq, c._id, p.body from (
            select c._seq, c._id, c._prev from {twin} c
             where c._seq > $1 and c._seq <= $2 and not c._stub and c._prev is not null {only}
             order by c._seq limit $3) c
           left join lateral (
            select _godwit_row as body from {twin} _godwit_row
             where _godwit_row._id = c._id and _godwit_row._rev = c._prev
               and not _godwit_row._stub and not _godwit_row._deleted) p on true
          order by c._seq",
        twin = shape.twin,
    );
    let mut left: Vec<Left> = Vec::new();
    let mut at = since;
    loop {
        pgrx::check_for_interrupts!();
        let mut args = vec![spi::int8(at), spi::int8(until), spi::int8(CHANGES_AT_ONCE)];
        args.extend(ids.map(|ids| spi::texts(ids.iter().map(String::as_str))));
        let changes = role::as_owner(shape.owner, || {
            spi::rows(&sql, &args, |row| {
                let body = row.get::<pg_sys::Datum>(3).is_some().then(|| row.carry_out(3));
                (row.need::<i64>(1), row.need::<String>(2), body)
            })
        });
        let Some((last, _, _)) = changes.last() else { return left };
        at = *last;
        let is_full = changes.len() as i64 == CHANGES_AT_ONCE;
        let bodies: Vec<pg_sys::Datum> =
            changes.iter().filter_map(|(_, _, body)| body.as_ref()?.1).collect();
        let mut shown = policy::shown_of(shape, &bodies).into_iter();
        let were_visible: Vec<(i64, String)> = changes
            .into_iter()
            .filter(|(_, _, body)| body.is_some() && shown.next() == Some(true))
            .map(|(sequence, id, _)| (sequence, id))
            .collect();
        let ids: Vec<String> = were_visible.iter().map(|(_, id)| id.clone()).collect();
        let seen = policy::seen_of(shape, &ids);
        for (sequence, id) in were_visible {
            if !seen.contains(&id) {
                left.retain(|earlier| earlier.id != id);
                left.push(Left { sequence, id });
            }
        }
        if !is_full {
            return left;
        }
    }
}

/// Whether who sends this could see what it was made from: a body in its line that passes the policies.
pub fn had(shape: &Shape, arrival: &Arrival) -> bool {
    let id = &arrival.revision.id;
    arrival.line.iter().skip(1).any(|ancestor| {
        policy::body_of(shape, id, ancestor).is_some_and(|body| policy::shows(shape, body))
    })
}
