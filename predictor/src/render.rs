//! Renderings of a report: pure functions from a [`Report`](crate::Report) to text.

mod html;
mod junit;
mod markdown;
mod terminal;
