//! Godwit's gateway as a library: configuration, routes, and serving them. Table of contents.

mod auth;
mod body;
mod changes;
pub mod config;
mod conflicts;
mod database;
mod error;
mod extract;
mod feed;
mod filter;
mod health;
mod live;
mod openapi;
mod page;
mod precondition;
mod records;
mod rejected;
mod revisions;
pub mod routes;
pub mod serve;
mod snapshot;
mod status;
mod tables;
