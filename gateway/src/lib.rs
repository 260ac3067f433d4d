//! Godwit's gateway as a library: a client and its commands, configuration, routes, and serving them. Table of contents.

mod auth;
mod body;
pub mod bundle;
mod changes;
pub mod client;
pub mod config;
mod conflicts;
mod database;
mod deep;
mod error;
mod extract;
mod feed;
mod health;
mod page;
pub mod peering;
mod peers;
mod precondition;
mod records;
mod rejected;
pub mod replicate;
mod revisions;
pub mod routes;
pub mod serve;
mod status;
mod tables;
