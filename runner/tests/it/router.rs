//! The router between real callers and real instances.

mod bodies;
mod dividing;
mod failing;
mod haproxy;
mod instance;
mod rig;
mod steering;
