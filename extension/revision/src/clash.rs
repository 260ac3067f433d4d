//! In charge of telling what two branches disagree about.

use crate::merge::MERGED;
use crate::value::Attributes;
use std::collections::BTreeSet;

/// Names of the attributes that both branches changed, and not to the same value, since the common
/// ancestor. Where the ancestor is not known, whatever is not the same in both.
pub fn clashes<'a>(
    ancestor: Option<&Attributes>,
    ours: &'a Attributes,
    theirs: &'a Attributes,
) -> Vec<&'a str> {
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let clashes = |name: &&String| {
        let (ours, theirs) = (ours.get(*name), theirs.get(*name));
        let unchanged = |value| ancestor.is_some_and(|ancestor| ancestor.get(*name) == value);
        // What a revision was merged from is nothing to disagree about.
        *name != MERGED && ours != theirs && !unchanged(ours) && !unchanged(theirs)
    };
    names.into_iter().filter(clashes).map(String::as_str).collect()
}
