//! Datasets as their readers meet them: whole, damaged, cut off, and read by other people's code.

mod contract;
mod damage;
mod python;
mod rows;
mod sightings;
mod trials;
