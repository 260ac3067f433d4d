//! Godwit's gateway as a library: configuration, routes, and serving them. Table of contents.

mod body;
mod changes;
pub mod config;
mod database;
mod error;
mod extract;
mod feed;
mod health;
mod precondition;
mod records;
mod revisions;
pub mod routes;
pub mod serve;
mod tables;
