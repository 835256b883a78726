//! Made-up captures, packet by packet.

mod damage;
mod file;
mod formats;
mod messages;
mod reading;
mod streams;
mod talk;
