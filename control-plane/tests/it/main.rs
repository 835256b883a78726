//! The control plane over real sockets and a real store, and the pages of the dashboard.

mod dashboard;
mod events;
mod house;
mod limits;
mod steering;
mod table;
