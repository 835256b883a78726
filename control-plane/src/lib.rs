//! The control plane: a REST API, events and a dashboard of forecasts, rollouts and how true they were.
//!
//! One table ([`policy::RULES`]) names every operation with its method, its path and what a caller
//! needs. The router, the authorization and the OpenAPI document are made from that table, so none
//! of them can know an operation that the others do not. A request goes through [`mod@server`]
//! (limits), `gateway` (who asks, may they, how often; idempotency; audit), `api` (parse, call,
//! render) and `service` (what is done), to the store.

pub mod cloud_event;
pub mod control;
pub mod dashboard;
pub mod local;
pub mod openapi;
pub mod policy;
pub mod problem;
pub mod server;
pub mod signature;
pub mod token;
pub mod trials;

mod api;
mod call;
mod clock;
mod feed;
mod gateway;
mod limiter;
mod meter;
mod pages;
mod service;
mod trace;
mod view;
mod what_if;

pub use control::{Act, ControlError, Pending, PlanRequest, Rollouts, Verb};
pub use server::{Limits, ServeError, ServeOptions, Server};
pub use token::{NewSecret, Scope};
