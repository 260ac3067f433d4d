//! Godwit's gateway as a library: a client, configuration, routes, and serving them. Table of contents.

mod auth;
mod body;
mod changes;
pub mod client;
pub mod config;
mod conflicts;
mod database;
mod error;
mod extract;
mod feed;
mod health;
mod page;
mod peers;
mod precondition;
mod records;
mod rejected;
mod revisions;
pub mod routes;
pub mod serve;
mod status;
mod tables;
