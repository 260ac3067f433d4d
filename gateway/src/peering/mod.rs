//! What `replicate`, `export` and `import` share: reading a stream, offering what was read, and what to tell.
//! Table of contents.

pub mod ancestry;
pub mod endpoint;
pub mod offer;
pub mod pages;
pub mod stop;
pub mod tables;

/// How a command ended that did what it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// All is done, but the target has refused something.
    Refused,
}
