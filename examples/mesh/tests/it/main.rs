//! The binary as it is used: started, asked over real sockets, ended.

mod behaviour;
mod messages;
mod samples;
mod server;
