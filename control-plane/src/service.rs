//! What is done: each file one family of changes and answers, without a word of HTTP routing.

pub(crate) mod access;
pub(crate) mod delivery;
pub(crate) mod forecast;
pub(crate) mod gate;
pub(crate) mod outcome;
pub(crate) mod post;
pub(crate) mod scoreboard;
pub(crate) mod steering;
pub(crate) mod webhook;
