//! The `prophecy` command as its users meet it: real files, sockets and processes.

mod bad_input;
mod capture;
mod patience;
mod probe;
mod production;
mod prophecy;
mod report;
mod rollout;
mod serve;
mod simulate;
mod third_party;
