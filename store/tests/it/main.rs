//! The store as its callers use it, over SQLite and over a real PostgreSQL.

mod audit;
mod backup;
mod concurrency;
mod faults;
mod paging;
mod place;
mod records;
mod retention;
mod rollouts;
mod sample;
mod schema;
mod server;
mod speed;
