//! The engine against closed forms, and against laws that any system obeys.

mod closed_forms;
mod components;
mod deployments;
mod fidelity;
mod laws;
mod recovery;
mod solvers;
mod traffic;
