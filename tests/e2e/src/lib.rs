//! A client of Godwit that works offline, as docs/protocol.md describes one. Table of contents.
//!
//! It is the tests' other side, kept in memory and as plain as it can be. What it knows of records it
//! knows through `revision`; what it knows of the database, through HTTP.

pub mod gateway;
pub mod peer;
pub mod process;
pub mod site;
pub mod stack;

pub use gateway::Gateway;
pub use peer::Peer;
pub use process::Process;
