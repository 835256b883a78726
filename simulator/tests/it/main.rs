//! The engine against closed forms, and against laws that any system obeys.

mod closed_forms;
mod laws;
mod traffic;
